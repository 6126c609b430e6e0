import { ponder } from "ponder:registry";
import { holding, transfer } from "ponder:schema";

type Address = `0x${string}`;
const ZERO: Address = "0x0000000000000000000000000000000000000000";

async function book(
  { event, context }: { event: any; context: any },
  sender: Address,
  recipient: Address,
  amount: bigint,
  deedId: bigint | null,
): Promise<void> {
  const contract: Address = event.log.address;
  for (const [account, change] of [[sender, -amount], [recipient, amount]] as const) {
    if (account === ZERO) continue;
    await context.db
      .insert(holding)
      .values({ contract, account, amount: change })
      .onConflictDoUpdate((row: { amount: bigint }) => ({ amount: row.amount + change }));
  }
  await context.db.insert(transfer).values({
    block: event.block.number,
    logIndex: event.log.logIndex,
    contract,
    transactionHash: event.transaction.hash,
    sender,
    recipient,
    amount,
    deedId,
  });
}

ponder.on("Fungible:Transfer", async (given) => {
  const { from, to, amount } = given.event.args;
  await book(given, from, to, amount, null);
});

ponder.on("Deed:Transfer", async (given) => {
  const { from, to, tokenId } = given.event.args;
  await book(given, from, to, 1n, tokenId);
});
