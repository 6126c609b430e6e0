"""Every client's own words come to the same reasons."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.chain.node import NodeRefused
from service.chain.reasons import Reason, reason

ANVIL = [
    (-32003, "nonce too low", Reason.NONCE_SPENT),
    (-32003, "transaction already imported", Reason.ALREADY_KNOWN),
    (-32003, "replacement transaction underpriced", Reason.REPLACEMENT_UNDERPRICED),
    (-32003, "max fee per gas less than block base fee", Reason.FEE_TOO_LOW),
    (-32003, "max priority fee per gas higher than max fee per gas", Reason.INVALID),
    (-32003, "Insufficient funds for gas * price + value", Reason.NO_FUNDS),
    (-32000, "intrinsic gas too low", Reason.GAS_TOO_LOW),
    (-32000, "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit", Reason.GAS_TOO_HIGH),
    (-32003, "invalid chain id for signer", Reason.WRONG_CHAIN),
    (-32003, "max initcode size exceeded", Reason.INVALID),
    (-32602, "Failed to decode transaction", Reason.INVALID),
    (-32602, "BlockOutOfRangeError: block height is 0 but requested was 5", Reason.BLOCK_UNKNOWN),
    (-32603, "EVM error InvalidFEOpcode", Reason.HALTED),
    (-32603, "EVM error OutOfGas", Reason.OUT_OF_GAS),
    (3, "execution reverted", Reason.REVERTED),
    (-32601, "Method not found", Reason.METHOD_MISSING),
    (-32003, "Nonce too high", Reason.NONCE_TOO_HIGH),
    (-32003, "Tx: [0x5c] already Imported", Reason.ALREADY_KNOWN),
    (-32003, "Tx: [0x5c] insufficient gas price to replace existing transaction", Reason.REPLACEMENT_UNDERPRICED),
    (-32602, "Invalid input: `max_priority_fee_per_gas` greater than `max_fee_per_gas`", Reason.INVALID),
    (-32602, "Transaction data is empty", Reason.INVALID),
    (-32003, "Incompatible EIP-155 transaction, signed for another chain", Reason.WRONG_CHAIN),
    (
        -32003,
        "Transaction gas limit is greater than the block gas limit, gas_limit: 9, cap: 8",
        Reason.GAS_TOO_HIGH,
    ),
    (-32003, "sender not an eoa", Reason.SENDER_BARRED),
    (-32603, "could not find newest block number requested: 0x9", Reason.BLOCK_UNKNOWN),
    (-32603, "Required data unavailable", Reason.HISTORY_GONE),
    (-32602, "Unknown transaction type not supported", Reason.INVALID),
    (-32603, "Chain Id not available", Reason.UNKNOWN),
]
GETH = [
    (-32000, "nonce too low: next nonce 5, tx nonce 3", Reason.NONCE_SPENT),
    (-32000, "nonce too high: tx nonce 9, gapped nonce 5", Reason.NONCE_TOO_HIGH),
    (-32000, "already known", Reason.ALREADY_KNOWN),
    (-32000, "replacement transaction underpriced", Reason.REPLACEMENT_UNDERPRICED),
    (-32000, "transaction underpriced: gas tip cap 0, minimum needed 1", Reason.FEE_TOO_LOW),
    (-32000, "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 7", Reason.FEE_TOO_LOW),
    (-32000, "max priority fee per gas higher than max fee per gas", Reason.INVALID),
    (-32000, "tx fee (2.10 ether) exceeds the configured cap (1.00 ether)", Reason.FEE_OVER_CAP),
    (-32000, "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1", Reason.NO_FUNDS),
    (-32000, "insufficient funds for transfer", Reason.NO_FUNDS),
    (-32000, "intrinsic gas too low: gas 20000, minimum needed 21000", Reason.GAS_TOO_LOW),
    (-32000, "insufficient gas for floor data gas cost: gas 21000, minimum needed 22000", Reason.GAS_TOO_LOW),
    (-32000, "exceeds block gas limit", Reason.GAS_TOO_HIGH),
    (-32000, "transaction gas limit too high (cap: 16777216, tx: 30000000)", Reason.GAS_TOO_HIGH),
    (-32000, "gas required exceeds allowance (50000000)", Reason.OUT_OF_GAS),
    (-32000, "invalid sender: invalid chain id for signer: have 5 want 1", Reason.WRONG_CHAIN),
    (-32000, "invalid sender: invalid transaction v, r, s values", Reason.INVALID),
    (-32000, "transaction type not supported", Reason.INVALID),
    (-32000, "oversized data: transaction size 200000, limit 131072", Reason.INVALID),
    (-32000, "authority nonce too low", Reason.INVALID),
    (-32000, "txpool is full", Reason.POOL_FULL),
    (-32000, "account limit exceeded: pooled 64 txs", Reason.POOL_FULL),
    (-32000, "address already reserved", Reason.POOL_FULL),
    (3, "execution reverted: ERC20: nonce too low", Reason.REVERTED),
    (-32000, "invalid opcode: INVALID", Reason.HALTED),
    (-32005, "query returned more than 10000 results", Reason.RANGE_TOO_LARGE),
    (-32000, "exceed maximum block range: 50000", Reason.RANGE_TOO_LARGE),
    (-32003, "response too large", Reason.RANGE_TOO_LARGE),
    (-32000, "invalid block range params", Reason.BLOCK_UNKNOWN),
    (-32000, "header not found", Reason.BLOCK_UNKNOWN),
    (-39001, "Unknown block", Reason.BLOCK_UNKNOWN),
    (-32000, "finalized block not found", Reason.BLOCK_UNKNOWN),
    (-32000, "missing trie node 1f (path 02) state 0x2a is not available", Reason.HISTORY_GONE),
    (-32000, "transaction indexing is in progress", Reason.SYNCING),
    (-32601, "the method eth_nope does not exist/is not available", Reason.METHOD_MISSING),
    (-32000, "in-flight transaction limit reached for delegated accounts", Reason.POOL_FULL),
    (-32000, "gapped-nonce tx from delegated accounts", Reason.NONCE_TOO_HIGH),
    (-32000, "authority already reserved", Reason.POOL_FULL),
    (-32000, "future transaction tries to replace pending", Reason.POOL_FULL),
    (-32000, "sender not an eoa: address 0x1, len(code): 23", Reason.SENDER_BARRED),
    (-32000, "max fee per gas higher than 2^256-1", Reason.INVALID),
    (-32000, "nonce has max value: address 0x1, nonce: 18446744073709551615", Reason.INVALID),
    (-32000, "negative value", Reason.INVALID),
    (-32000, "only replay-protected (EIP-155) transactions allowed over RPC", Reason.INVALID),
    (-32000, "max initcode size exceeded: code size 60000, limit 49152", Reason.INVALID),
    (-32000, "gas limit reached", Reason.GAS_TOO_HIGH),
    (-32000, "insufficient balance for transfer", Reason.NO_FUNDS),
    (-32000, "stack underflow (0 <=> 1)", Reason.HALTED),
    (-32000, "invalid jump destination", Reason.HALTED),
    (-32002, "request timed out", Reason.TIMED_OUT),
    (-32000, "execution aborted (timeout = 5s)", Reason.TIMED_OUT),
]
RETH = [
    (-32000, "nonce too low: next nonce 5, tx nonce 3", Reason.NONCE_SPENT),
    (-32000, "already known", Reason.ALREADY_KNOWN),
    (-32000, "replacement transaction underpriced", Reason.REPLACEMENT_UNDERPRICED),
    (-32003, "transaction priority fee below minimum required priority fee 1", Reason.FEE_TOO_LOW),
    (-32003, "insufficient funds for gas * price + value: have 0 want 1", Reason.NO_FUNDS),
    (-32000, "intrinsic gas too high", Reason.GAS_TOO_HIGH),
    (-32003, "out of gas: gas required exceeds: 21000", Reason.OUT_OF_GAS),
    (-32003, "EVM error: InvalidFEOpcode", Reason.HALTED),
    (-32000, "invalid chain ID", Reason.WRONG_CHAIN),
    (-32602, "invalid transaction signature", Reason.INVALID),
    (-32602, "failed to decode signed transaction", Reason.INVALID),
    (-32003, "txpool is full", Reason.POOL_FULL),
    (-32602, "query exceeds max block range 100000", Reason.RANGE_TOO_LARGE),
    (-32602, "query exceeds max results 20000, retry with the range 1-9", Reason.RANGE_TOO_LARGE),
    (-32008, "Response is too big", Reason.RANGE_TOO_LARGE),
    (-32001, "block not found: 0x99", Reason.BLOCK_UNKNOWN),
    (4444, "pruned history unavailable", Reason.HISTORY_GONE),
    (3, "execution reverted", Reason.REVERTED),
    (-32000, "transaction underpriced", Reason.FEE_TOO_LOW),
    (-32000, "max fee per gas less than block base fee", Reason.FEE_TOO_LOW),
    (-32000, "exceeds max transaction gas limit", Reason.GAS_TOO_HIGH),
    (-32003, "gas limit too high", Reason.GAS_TOO_HIGH),
    (-32000, "intrinsic gas too low", Reason.GAS_TOO_LOW),
    (-32000, "tx fee (2 wei) exceeds the configured cap (1 wei)", Reason.FEE_OVER_CAP),
    (-32003, "sender is not an EOA", Reason.SENDER_BARRED),
    (-32000, "address already reserved", Reason.POOL_FULL),
    (-32602, "empty transaction data", Reason.INVALID),
    (-32003, "nonce too high", Reason.NONCE_TOO_HIGH),
    (-32003, "transactions before Spurious Dragon should not have a chain ID", Reason.WRONG_CHAIN),
    (-32003, "out of memory: memory limit exceeded during memory expansion", Reason.OUT_OF_GAS),
    (-32001, "header range not found, start block 1, end block 2", Reason.BLOCK_UNKNOWN),
    (-32601, "Method not found", Reason.METHOD_MISSING),
]
BESU = [
    (-32001, "Nonce too low", Reason.NONCE_SPENT),
    (-32006, "Nonce too high", Reason.NONCE_TOO_HIGH),
    (-32000, "Transaction nonce is too distant from current sender nonce", Reason.NONCE_TOO_HIGH),
    (-32000, "An invalid transaction with a lower nonce exists", Reason.NONCE_TOO_HIGH),
    (-32000, "Known transaction", Reason.ALREADY_KNOWN),
    (-32000, "Replacement transaction underpriced", Reason.REPLACEMENT_UNDERPRICED),
    (-32009, "Gas price below configured minimum gas price", Reason.FEE_TOO_LOW),
    (-32009, "Gas price below current base fee", Reason.FEE_TOO_LOW),
    (-32000, "Transaction fee cap exceeded", Reason.FEE_OVER_CAP),
    (-32000, "Max priority fee per gas exceeds max fee per gas", Reason.INVALID),
    (-32004, "Upfront cost exceeds account balance", Reason.NO_FUNDS),
    (-32003, "Intrinsic gas exceeds gas limit", Reason.GAS_TOO_LOW),
    (-32005, "Transaction gas limit exceeds block gas limit", Reason.GAS_TOO_HIGH),
    (-32000, "Wrong chainId", Reason.WRONG_CHAIN),
    (-32002, "Invalid signature", Reason.INVALID),
    (-32602, "Invalid transaction type", Reason.INVALID),
    (-32000, "Execution reverted", Reason.REVERTED),
    (-32000, "Transaction processing could not be completed due to an exception", Reason.HALTED),
    (-32005, "Requested range exceeds maximum RPC range limit", Reason.RANGE_TOO_LARGE),
    (-32000, "Block not found", Reason.BLOCK_UNKNOWN),
    (-32000, "World state unavailable", Reason.HISTORY_GONE),
    (-32008, "Initial sync is still in progress", Reason.SYNCING),
    (
        -32002,
        "Transaction pool not enabled. (Either txpool explicitly disabled, or node not yet in sync).",
        Reason.SYNCING,
    ),
    (-32604, "Method not enabled", Reason.METHOD_MISSING),
    (-32007, "Sender account not authorized to send transactions", Reason.SENDER_BARRED),
    (-32000, "ChainId not supported", Reason.WRONG_CHAIN),
    (-32000, "ChainId is required", Reason.WRONG_CHAIN),
    (-32602, "Invalid transaction params (missing or incorrect)", Reason.INVALID),
    (-32603, "Timeout expired", Reason.TIMED_OUT),
    (-39001, "Unknown block", Reason.BLOCK_UNKNOWN),
    (-32000, "Plugin has marked the transaction as invalid", Reason.UNKNOWN),
]
NETHERMIND = [
    (-32010, "OldNonce, Current nonce: 5, nonce of rejected tx: 3", Reason.NONCE_SPENT),
    (-32010, "NonceGap, Future nonce. Expected nonce: 5", Reason.NONCE_TOO_HIGH),
    (-32010, "nonce too far in future", Reason.NONCE_TOO_HIGH),
    (-32010, "AlreadyKnown", Reason.ALREADY_KNOWN),
    (-32010, "FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 1, BaseFee: 7", Reason.FEE_TOO_LOW),
    (-32010, "FeeTooLowToCompete", Reason.FEE_TOO_LOW),
    (-32010, "ReplacementNotAllowed", Reason.REPLACEMENT_UNDERPRICED),
    (-32010, "InsufficientFunds, Account balance: 0, cumulative cost: 1", Reason.NO_FUNDS),
    (-32010, "GasLimitExceeded, Gas limit: 30000000", Reason.GAS_TOO_HIGH),
    (-32010, "FailedToResolveSender", Reason.INVALID),
    (-32015, "VM execution error.", Reason.REVERTED),
    (-32000, "node is syncing", Reason.SYNCING),
    (-32010, "nonce too low, Current nonce: 5, nonce of rejected tx: 3", Reason.NONCE_SPENT),
    (-32010, "already known", Reason.ALREADY_KNOWN),
    (-32010, "replacement transaction underpriced", Reason.REPLACEMENT_UNDERPRICED),
    (-32010, "transaction underpriced", Reason.FEE_TOO_LOW),
    (-32010, "insufficient funds for gas * price + value", Reason.NO_FUNDS),
    (-32010, "sender not an eoa", Reason.SENDER_BARRED),
    (-32010, "pending transaction type conflict", Reason.POOL_FULL),
    (-32010, "delegation nonce gap", Reason.NONCE_TOO_HIGH),
    (-32010, "delegation authority has pending transaction", Reason.POOL_FULL),
    (-32010, "transaction cost overflow", Reason.INVALID),
    (-32010, "transaction too large", Reason.INVALID),
    (-32010, "unsupported transaction type", Reason.INVALID),
    (-32010, "failed to recover sender", Reason.INVALID),
    (-32010, "transaction invalid, InvalidTxChainId: Expected 1, got 5.", Reason.WRONG_CHAIN),
    (-32010, "transaction invalid, InvalidTxSignature: Signature is invalid.", Reason.INVALID),
    (-32010, "transaction invalid, intrinsic gas too low", Reason.GAS_TOO_LOW),
    (-32010, "transaction invalid, TxGasLimitCapExceeded: Gas limit 9 exceeded cap of 8.", Reason.GAS_TOO_HIGH),
    (
        -32010,
        "transaction invalid, InvalidMaxPriorityFeePerGas: Cannot be higher than maxFeePerGas.",
        Reason.INVALID,
    ),
]
ERIGON = [
    (-32000, "INTERNAL_ERROR: nonce too low", Reason.NONCE_SPENT),
    (-32000, "ALREADY_EXISTS: already known", Reason.ALREADY_KNOWN),
    (-32000, "ALREADY_EXISTS: existing txn with same hash", Reason.ALREADY_KNOWN),
    (-32000, "FEE_TOO_LOW: underpriced", Reason.FEE_TOO_LOW),
    (-32000, "fee too low", Reason.FEE_TOO_LOW),
    (-32000, "replacement transaction underpriced", Reason.REPLACEMENT_UNDERPRICED),
    (-32000, "could not replace existing tx", Reason.REPLACEMENT_UNDERPRICED),
    (-32000, "replaced by transaction with higher tip", Reason.REPLACEMENT_UNDERPRICED),
    (-32000, "INTERNAL_ERROR: insufficient funds", Reason.NO_FUNDS),
    (-32000, "IntrinsicGas", Reason.GAS_TOO_LOW),
    (-32000, "gas limit is too high", Reason.GAS_TOO_HIGH),
    (-32000, "GasUintOverflow", Reason.INVALID),
    (-32000, "RLPTooLong", Reason.INVALID),
    (-32000, "initcode too large", Reason.INVALID),
    (-32000, "fork supporting this transaction type is not activated yet", Reason.INVALID),
    (-32000, "pending sub-pool is full", Reason.POOL_FULL),
    (-32000, "baseFee sub-pool is full", Reason.POOL_FULL),
    (-32000, "INVALID: invalid sender", Reason.INVALID),
    (-32000, "old data not available due to pruning", Reason.HISTORY_GONE),
]
PROVIDERS = [
    (
        -32602,
        "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
        Reason.RANGE_TOO_LARGE,
    ),
    (-32614, "eth_getLogs is limited to a 10,000 range", Reason.RANGE_TOO_LARGE),
    (-32012, "requested range too large", Reason.RANGE_TOO_LARGE),
    (429, "Your app has exceeded its compute units per second capacity", Reason.RATE_LIMITED),
    (-32005, "daily request count exceeded, request rate limited", Reason.RATE_LIMITED),
    (-32005, "limit exceeded", Reason.RATE_LIMITED),
    (-32007, "50/second request limit reached", Reason.RATE_LIMITED),
    (-32005, "project ID request rate exceeded", Reason.RATE_LIMITED),
    (-32603, "Internal error", Reason.UNKNOWN),
    (-32603, "chain id 10 is out of service", Reason.UNKNOWN),
    (-32603, "failed to decode upstream response", Reason.UNKNOWN),
    (-32000, "unknown transaction", Reason.UNKNOWN),
    (-32000, "something that no release has said yet", Reason.UNKNOWN),
]
WORDINGS = [
    pytest.param(code, message, expected, id=f"{client}-{message[:40]}")
    for client, cases in {
        "anvil": ANVIL,
        "geth": GETH,
        "reth": RETH,
        "besu": BESU,
        "nethermind": NETHERMIND,
        "erigon": ERIGON,
        "provider": PROVIDERS,
    }.items()
    for code, message, expected in cases
]


@pytest.mark.parametrize(("code", "message", "expected"), WORDINGS)
def test_a_clients_wording_comes_to_its_reason(code: int, message: str, expected: Reason) -> None:
    assert reason(code, message) is expected


@pytest.mark.parametrize(
    "words", ["nonce too low", "already known", "insufficient funds", "rate limit", "invalid signature"]
)
def test_words_that_a_contract_chose_are_never_taken_for_the_nodes(words: str) -> None:
    assert reason(-32000, f"execution reverted: {words}") is Reason.REVERTED
    assert reason(3, words) is Reason.REVERTED


def test_revert_data_says_reverted_where_the_words_say_nothing() -> None:
    assert reason(-32000, "something else", "0x08c379a0") is Reason.REVERTED
    assert reason(-32000, "something else", "0x") is Reason.UNKNOWN


def test_only_faults_of_the_bytes_themselves_are_final() -> None:
    final = {known for known in Reason if known.final}
    assert final == {Reason.GAS_TOO_LOW, Reason.GAS_TOO_HIGH, Reason.INVALID, Reason.WRONG_CHAIN}


@given(st.integers(), st.text(), st.none() | st.text())
def test_any_error_has_a_reason_and_can_be_told(code: int, message: str, data: str | None) -> None:
    refused = NodeRefused(code, message, data)
    assert refused.reason in Reason
    assert str(refused)


def test_a_transaction_that_a_node_echoes_is_taken_out_of_its_words() -> None:
    raw = "02f8" + "ab" * 100
    refused = NodeRefused(-32602, f'invalid value: string "0x{raw}zz", expected a valid hex string')
    assert raw[:64] not in str(refused) + repr(refused) + refused.message
    assert "expected a valid hex string" in str(refused)
