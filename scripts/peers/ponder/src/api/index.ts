// Ponder does not start without this file.
import { Hono } from "hono";

export default new Hono();
