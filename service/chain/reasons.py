"""One table from a node's words to a reason: anvil, geth, reth, besu and nethermind."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a node refused. Callers switch on this and never on a node's words."""

    NONCE_SPENT = "nonce-spent"
    NONCE_TOO_HIGH = "nonce-too-high"
    ALREADY_KNOWN = "already-known"
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
    POOL_FULL = "pool-full"
    RANGE_TOO_LARGE = "range-too-large"
    RATE_LIMITED = "rate-limited"
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

# Order matters: a contract chooses the words after "execution reverted", so they must not reach later rows.
_WORDS: tuple[tuple[str, Reason], ...] = (
    ("execution reverted", Reason.REVERTED),
    ("vm exception while processing transaction: revert", Reason.REVERTED),
    ("vm execution error", Reason.REVERTED),
    ("authority nonce too low", Reason.INVALID),
    ("nonce too low", Reason.NONCE_SPENT),
    ("oldnonce", Reason.NONCE_SPENT),
    ("nonce too high", Reason.NONCE_TOO_HIGH),
    ("noncegap", Reason.NONCE_TOO_HIGH),
    ("noncetoofarinfuture", Reason.NONCE_TOO_HIGH),
    ("nonce too far in future", Reason.NONCE_TOO_HIGH),
    ("nonce is too distant", Reason.NONCE_TOO_HIGH),
    ("lower nonce exists", Reason.NONCE_TOO_HIGH),
    ("already imported", Reason.ALREADY_KNOWN),
    ("already known", Reason.ALREADY_KNOWN),
    ("alreadyknown", Reason.ALREADY_KNOWN),
    ("known transaction", Reason.ALREADY_KNOWN),
    ("priority fee per gas higher than", Reason.INVALID),
    ("priority fee per gas exceeds max fee", Reason.INVALID),
    ("max fee per gas higher than 2^256", Reason.INVALID),
    ("replacementnotallowed", Reason.FEE_TOO_LOW),
    ("underpriced", Reason.FEE_TOO_LOW),
    ("less than block base fee", Reason.FEE_TOO_LOW),
    ("gas price below", Reason.FEE_TOO_LOW),
    ("priority fee below minimum", Reason.FEE_TOO_LOW),
    ("feetoolow", Reason.FEE_TOO_LOW),
    ("gas price too low", Reason.FEE_TOO_LOW),
    ("exceeds the configured cap", Reason.FEE_OVER_CAP),
    ("transaction fee cap exceeded", Reason.FEE_OVER_CAP),
    ("insufficient funds", Reason.NO_FUNDS),
    ("insufficientfunds", Reason.NO_FUNDS),
    ("upfront cost exceeds account balance", Reason.NO_FUNDS),
    ("intrinsic gas too high", Reason.GAS_TOO_HIGH),
    ("intrinsic gas too low", Reason.GAS_TOO_LOW),
    ("intrinsic gas exceeds gas limit", Reason.GAS_TOO_LOW),
    ("insufficient gas for floor data gas cost", Reason.GAS_TOO_LOW),
    ("exceeds block gas limit", Reason.GAS_TOO_HIGH),
    ("gas limit too high", Reason.GAS_TOO_HIGH),
    ("gas limit reached", Reason.GAS_TOO_HIGH),
    ("gaslimitexceeded", Reason.GAS_TOO_HIGH),
    ("gas required exceeds", Reason.OUT_OF_GAS),
    ("out of gas", Reason.OUT_OF_GAS),
    ("outofgas", Reason.OUT_OF_GAS),
    ("evm error", Reason.HALTED),
    ("invalid opcode", Reason.HALTED),
    ("processing could not be completed", Reason.HALTED),
    ("chain id", Reason.WRONG_CHAIN),
    ("chainid", Reason.WRONG_CHAIN),
    ("invalid sender", Reason.INVALID),
    ("invalid signature", Reason.INVALID),
    ("invalid transaction signature", Reason.INVALID),
    ("failed to recover sender", Reason.INVALID),
    ("failedtoresolvesender", Reason.INVALID),
    ("failed to decode", Reason.INVALID),
    ("invalid transaction type", Reason.INVALID),
    ("transaction type not supported", Reason.INVALID),
    ("max initcode size exceeded", Reason.INVALID),
    ("oversized data", Reason.INVALID),
    ("nonce has max value", Reason.INVALID),
    ("gas uint64 overflow", Reason.INVALID),
    ("txpool is full", Reason.POOL_FULL),
    ("account limit exceeded", Reason.POOL_FULL),
    ("address already reserved", Reason.POOL_FULL),
    ("query returned more than", Reason.RANGE_TOO_LARGE),
    ("exceeds max results", Reason.RANGE_TOO_LARGE),
    ("maximum block range", Reason.RANGE_TOO_LARGE),
    ("max block range", Reason.RANGE_TOO_LARGE),
    ("maximum rpc range limit", Reason.RANGE_TOO_LARGE),
    ("range greater than", Reason.RANGE_TOO_LARGE),
    ("range too large", Reason.RANGE_TOO_LARGE),
    ("response size exceeded", Reason.RANGE_TOO_LARGE),
    ("response too large", Reason.RANGE_TOO_LARGE),
    ("response is too big", Reason.RANGE_TOO_LARGE),
    ("is limited to a", Reason.RANGE_TOO_LARGE),
    ("requests with up to a", Reason.RANGE_TOO_LARGE),
    ("missing trie node", Reason.HISTORY_GONE),
    ("historical state", Reason.HISTORY_GONE),
    ("pruned history", Reason.HISTORY_GONE),
    ("history has been pruned", Reason.HISTORY_GONE),
    ("state not available", Reason.HISTORY_GONE),
    ("world state unavailable", Reason.HISTORY_GONE),
    ("no state available", Reason.HISTORY_GONE),
    ("blockoutofrangeerror", Reason.BLOCK_UNKNOWN),
    ("out of bounds", Reason.BLOCK_UNKNOWN),
    ("invalid block range", Reason.BLOCK_UNKNOWN),
    ("block range extends beyond", Reason.BLOCK_UNKNOWN),
    ("header not found", Reason.BLOCK_UNKNOWN),
    ("block not found", Reason.BLOCK_UNKNOWN),
    ("unknown block", Reason.BLOCK_UNKNOWN),
    ("initial sync is still in progress", Reason.SYNCING),
    ("node is syncing", Reason.SYNCING),
    ("pool not enabled", Reason.SYNCING),
    ("indexing is in progress", Reason.SYNCING),
    ("rate limit", Reason.RATE_LIMITED),
    ("too many requests", Reason.RATE_LIMITED),
    ("request limit", Reason.RATE_LIMITED),
    ("limit exceeded", Reason.RATE_LIMITED),
    ("compute units", Reason.RATE_LIMITED),
    ("method not found", Reason.METHOD_MISSING),
    ("method not enabled", Reason.METHOD_MISSING),
    ("does not exist/is not available", Reason.METHOD_MISSING),
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
    words = message.lower()
    found = next((known for text, known in _WORDS if text in words), None)
    if found is not None:
        return found
    if data is not None and len(data) > 2:
        return Reason.REVERTED
    return _CODES.get(code, Reason.UNKNOWN)
