import { index, onchainTable, primaryKey } from "ponder";

export const transfer = onchainTable(
  "transfer",
  (t) => ({
    block: t.bigint().notNull(),
    logIndex: t.integer().notNull(),
    contract: t.hex().notNull(),
    transactionHash: t.hex().notNull(),
    sender: t.hex().notNull(),
    recipient: t.hex().notNull(),
    amount: t.bigint().notNull(),
    deedId: t.bigint(),
  }),
  (table) => ({
    key: primaryKey({ columns: [table.block, table.logIndex] }),
    bySender: index().on(table.contract, table.sender),
    byRecipient: index().on(table.contract, table.recipient),
  }),
);

export const holding = onchainTable(
  "holding",
  (t) => ({ contract: t.hex().notNull(), account: t.hex().notNull(), amount: t.bigint().notNull() }),
  (table) => ({ key: primaryKey({ columns: [table.contract, table.account] }) }),
);
