#!/usr/bin/env node
// npm's Solidity compiler behind the two options of the native one that py-solc-x uses.
// usage: solc_shim.js --version | --standard-json --base-path DIR   (input on stdin, bare JSON on stdout)
// Beyond the native one, it answers a list of inputs with the list of outputs, each compiled by itself.
"use strict";
const fs = require("fs");
const path = require("path");

const options = process.argv.slice(2);
const base = path.resolve(options[options.indexOf("--base-path") + 1] || ".");
const contracts = path.join(__dirname, "..", "contracts");
const solc = require(require.resolve("solc", { paths: [contracts] }));

function read(unit) {
  const file = path.resolve(base, unit);
  if (!file.startsWith(base + path.sep)) return { error: `${unit} lies outside the base path` };
  try {
    return { contents: fs.readFileSync(file, "utf8") };
  } catch (error) {
    return { error: `${unit}: ${error.code}` };
  }
}

if (options.includes("--version")) {
  fs.writeSync(1, `Version: ${solc.version()}\n`);
} else if (options.includes("--standard-json") && options.includes("--base-path")) {
  const given = fs.readFileSync(0, "utf8");
  const compile = (input) => solc.compile(input, { import: read });
  const list = given.startsWith("[") && JSON.parse(given).map((input) => compile(JSON.stringify(input)));
  process.stdout.write(list ? `[${list.join()}]` : compile(given));
} else {
  fs.writeSync(2, "usage: solc_shim.js --version | --standard-json --base-path DIR\n");
  process.exitCode = 2;
}
