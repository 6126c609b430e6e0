import { createConfig } from "ponder";

const given = (name: string): string => {
  const found = process.env[name];
  if (!found) throw new Error(`${name} is not set`);
  return found;
};
const address = (name: string) => given(name) as `0x${string}`;
const indexed = (name: string) => ({ name, type: "address", indexed: true }) as const;
const transfer = (last: { name: string; type: "uint256"; indexed: boolean }) =>
  [{ type: "event", name: "Transfer", inputs: [indexed("from"), indexed("to"), last] }] as const;
const startBlock = Number(given("PEER_START_BLOCK"));

export default createConfig({
  database: { kind: "postgres", connectionString: given("DATABASE_URL") },
  chains: {
    bench: {
      id: Number(given("PEER_CHAIN_ID")),
      // Each address has a rate limit of its own, which starts at 20 requests a second.
      rpc: Array.from({ length: Number(given("PEER_WAYS")) }, (_, way) => `${given("PEER_RPC_URL")}/?way=${way}`),
      ws: given("PEER_RPC_URL").replace(/^http/, "ws"),
      pollingInterval: 100,
    },
  },
  contracts: {
    Fungible: {
      abi: transfer({ name: "amount", type: "uint256", indexed: false } as const),
      chain: "bench",
      address: address("PEER_TOKEN"),
      startBlock,
    },
    Deed: {
      abi: transfer({ name: "tokenId", type: "uint256", indexed: true } as const),
      chain: "bench",
      address: address("PEER_DEED"),
      startBlock,
    },
  },
});
