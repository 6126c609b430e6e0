"""One table from a node's words to a reason: anvil, geth, reth, besu, nethermind and erigon."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a node refused. Callers switch on this and never on a node's words."""

    NONCE_SPENT = "nonce-spent"
    NONCE_TOO_HIGH = "nonce-too-high"
    ALREADY_KNOWN = "already-known"
    REPLACEMENT_UNDERPRICED = "replacement-underpriced"
    FEE_TOO_LOW = "fee-too-low"
    FEE_OVER_CAP = "fee-over-cap"
    NO_FUNDS = "no-funds"
    GAS_TOO_LOW = "gas-too-low"
    GAS_TOO_HIGH = "gas-too-high"
    OUT_OF_GAS = "out-of-gas"
    REVERTED = "reverted"
    HALTED = "halted"
    INVALID = "invalid"
    WRONG_CHAIN = "wrong-chain"
    SENDER_BARRED = "sender-barred"
    POOL_FULL = "pool-full"
    RANGE_TOO_LARGE = "range-too-large"
    RATE_LIMITED = "rate-limited"
    TIMED_OUT = "timed-out"
    BLOCK_UNKNOWN = "block-unknown"
    HISTORY_GONE = "history-gone"
    SYNCING = "syncing"
    METHOD_MISSING = "method-missing"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Sending the same bytes again can never help: the fault is in the bytes themselves.

        A spent nonce is not final: a reorganisation may give it back.
        """
        return self in _FINAL


_FINAL = frozenset({Reason.GAS_TOO_LOW, Reason.GAS_TOO_HIGH, Reason.INVALID, Reason.WRONG_CHAIN})

NOT_NOW = frozenset({Reason.RATE_LIMITED, Reason.SYNCING, Reason.TIMED_OUT, Reason.METHOD_MISSING})
"""These say something of the endpoint, and nothing of what was asked."""

# Order matters: a contract chooses the words after "execution reverted", so they must not reach later rows.
_WORDS: tuple[tuple[Reason, tuple[str, ...]], ...] = (
    (
        Reason.REVERTED,
        ("execution reverted", "vm exception while processing transaction: revert", "vm execution error"),
    ),
    # Of what is signed into the transaction, and near to words below that mean something else.
    (
        Reason.INVALID,
        (
            *("authority nonce too low", "nonce exceeds max nonce", "nonce has max value"),
            *("priority fee per gas higher than", "priority fee per gas exceeds max fee per gas"),
            *("max fee per gas higher than 2^256", "`max_priority_fee_per_gas` greater than", "invalidmaxpriorityfee"),
        ),
    ),
    (Reason.NONCE_SPENT, ("nonce too low", "oldnonce")),
    (
        Reason.NONCE_TOO_HIGH,
        (
            *("nonce too high", "noncegap", "delegation nonce gap", "gapped-nonce", "noncetoofarinfuture"),
            *("nonce too far in future", "nonce is too distant", "lower nonce exists"),
        ),
    ),
    (
        Reason.ALREADY_KNOWN,
        (
            *("already imported", "already known", "alreadyknown", " known transaction"),
            *("already_exists", "existing txn with same hash"),
        ),
    ),
    (
        Reason.REPLACEMENT_UNDERPRICED,
        (
            *("replacement transaction underpriced", "replacementnotallowed", "could not replace existing"),
            *("insufficient gas price to replace", "replaced by transaction with higher tip"),
        ),
    ),
    (
        Reason.FEE_TOO_LOW,
        (
            *("underpriced", "less than block base fee", "gas price below", "priority fee below minimum"),
            *("feetoolow", "fee too low", "fee_too_low", "gas price too low"),
        ),
    ),
    (Reason.FEE_OVER_CAP, ("exceeds the configured cap", "transaction fee cap exceeded")),
    (
        Reason.NO_FUNDS,
        (
            *("insufficient funds", "insufficientfunds", "insufficient balance for transfer"),
            "upfront cost exceeds account balance",
        ),
    ),
    (Reason.GAS_TOO_HIGH, ("intrinsic gas too high",)),
    (
        Reason.GAS_TOO_LOW,
        (
            *("intrinsic gas too low", "intrinsic gas exceeds gas limit", "intrinsicgas"),
            "insufficient gas for floor data gas cost",
        ),
    ),
    (
        Reason.GAS_TOO_HIGH,
        (
            *("exceeds block gas limit", "greater than the block gas limit", "exceeds max transaction gas limit"),
            *("gas limit too high", "gas limit is too high", "gas limit reached", "gaslimitexceeded"),
            "gaslimitcapexceeded",
        ),
    ),
    (Reason.OUT_OF_GAS, ("gas required exceeds", "out of gas", "outofgas", "out of memory")),
    (
        Reason.HALTED,
        (
            *("evm error", "invalid opcode", "processing could not be completed", "invalid jump destination"),
            *("stack underflow", "stack limit reached", "write protection", "contract address collision"),
            "max code size exceeded",
        ),
    ),
    (
        Reason.WRONG_CHAIN,
        (
            *("invalid chain id", "invalid chainid", "wrong chain id", "wrong chainid", "invalidtxchainid"),
            *("chainid not supported", "chainid is required", "chain id mismatch", "should not have a chain id"),
            "signed for another chain",
        ),
    ),
    (
        Reason.INVALID,
        (
            *("invalid sender", "invalid signature", "invalid transaction signature", "signature is invalid"),
            *("failed to recover sender", "failedtoresolvesender", "only replay-protected"),
            *("failed to decode transaction", "failed to decode signed transaction"),
            *("invalid transaction type", "transaction type not supported", "unsupported transaction type"),
            "unknown transaction type",
            *("invalidtxtype", "transaction type is not activated", "max initcode size exceeded", "initcode too large"),
            *("oversized data", "transaction too large", "rlptoolong", "negative value", "gas uint64 overflow"),
            *("gasuintoverflow", "transaction cost overflow", "int256overflow", "transaction data is empty"),
            *("empty transaction data", "invalid transaction params", "transaction invalid"),
        ),
    ),
    (
        Reason.SENDER_BARRED,
        ("sender not an eoa", "sender is not an eoa", "senderiscontract", "not authorized to send transactions"),
    ),
    (
        Reason.POOL_FULL,
        (
            *("txpool is full", "sub-pool is full", "account limit exceeded", "spammer"),
            *("address already reserved", "authority already reserved", "transaction type conflict"),
            *("future transaction tries to replace pending", "in-flight transaction limit"),
            *("authority has pending transaction", "pendingtxsofconflictingtype"),
        ),
    ),
    (
        Reason.RANGE_TOO_LARGE,
        (
            *("query returned more than", "exceeds max results", "maximum block range", "max block range"),
            *("maximum rpc range limit", "range greater than", "range too large", "response size exceeded"),
            *("response too large", "response is too big", "is limited to a", "requests with up to a"),
        ),
    ),
    (
        Reason.HISTORY_GONE,
        (
            *("missing trie node", "historical state", "pruned history", "history has been pruned"),
            *("not available due to pruning", "state not available", "world state unavailable"),
            *("no state available", "required data unavailable"),
        ),
    ),
    (
        Reason.BLOCK_UNKNOWN,
        (
            *("blockoutofrangeerror", "out of bounds", "invalid block range", "block range extends beyond"),
            *("header not found", "header range not found", "block not found", "unknown block"),
            *("could not find newest block", "cannot find block"),
        ),
    ),
    (
        Reason.SYNCING,
        (
            *("initial sync is still in progress", "node is syncing", "pool not enabled"),
            "indexing is in progress",
        ),
    ),
    (Reason.TIMED_OUT, ("request timed out", "timeout expired", "execution aborted", "execution timeout")),
    (
        Reason.RATE_LIMITED,
        (
            *("rate limit", "rate exceeded", "too many requests", "request limit", "limit exceeded"),
            *("compute units", "throughput"),
        ),
    ),
    (Reason.METHOD_MISSING, ("method not found", "method not enabled", "does not exist/is not available")),
)

_CODES = {
    3: Reason.REVERTED,
    429: Reason.RATE_LIMITED,
    4444: Reason.HISTORY_GONE,
    -32601: Reason.METHOD_MISSING,
    -32604: Reason.METHOD_MISSING,
    -32005: Reason.RATE_LIMITED,
}


def reason(code: int, message: str, data: str | None = None) -> Reason:
    """Read a JSON-RPC error: words first, since clients give one code many meanings; then the code.

    `data` is hexadecimal revert data, where the node gave any.
    """
    if code == 3:
        return Reason.REVERTED
    words = f" {message.lower()}"  # a blank in the table is where a word begins
    found = next((known for known, texts in _WORDS if any(text in words for text in texts)), None)
    if found is not None:
        return found
    if data is not None and len(data) > 2:
        return Reason.REVERTED
    return _CODES.get(code, Reason.UNKNOWN)
