// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @dev Why a move is refused; `code` is one of `Restrictions`. What the numbers mean, by code:
/// frozen: limit = what may move, actual = the amount asked for; unidentified: limit = the least level; expired: limit =
/// the first second at which the identity holds no more, actual = now; level: limit = the least level, actual = the
/// investor's; country: actual = the investor's; holders: limit = the most, actual = how many there would be; holding:
/// limit = the most, actual = what would be held; locked: limit = what is locked, actual = what would remain.
struct Restriction {
    uint8 code;
    address account;
    uint256 limit;
    uint256 actual;
}

/// @notice A move was refused.
/// @param code One of `Restrictions`; never zero.
/// @param account Whom the refusal concerns; the zero address if nobody in particular.
/// @param limit What the rule allows.
/// @param actual What the move would have made.
error TransferRestricted(uint8 code, address account, uint256 limit, uint256 actual);

/// @title The codes of all refusals, and their words.
library Restrictions {
    uint8 internal constant ALLOWED = 0;
    uint8 internal constant PAUSED = 1;
    uint8 internal constant FROZEN = 2;
    uint8 internal constant SOULBOUND = 3;
    uint8 internal constant ZERO_ADDRESS = 4;

    uint8 internal constant SENDER_UNIDENTIFIED = 10;
    uint8 internal constant SENDER_EXPIRED = 11;
    uint8 internal constant SENDER_BLOCKED = 12;
    uint8 internal constant SENDER_LEVEL = 13;
    uint8 internal constant SENDER_COUNTRY = 14;

    uint8 internal constant RECEIVER_UNIDENTIFIED = 20;
    uint8 internal constant RECEIVER_EXPIRED = 21;
    uint8 internal constant RECEIVER_BLOCKED = 22;
    uint8 internal constant RECEIVER_LEVEL = 23;
    uint8 internal constant RECEIVER_COUNTRY = 24;

    uint8 internal constant SPENDER_BLOCKED = 30;
    uint8 internal constant SPENDER_FROZEN = 31;

    uint8 internal constant HOLDERS_MAX = 40;
    uint8 internal constant COUNTRY_HOLDERS_MAX = 41;
    uint8 internal constant HOLDING_MAX = 42;
    uint8 internal constant LOCKED = 43;

    uint8 internal constant REGISTRY_FAILED = 60;

    /// @dev A short English sentence for each code, and one for every number that is none.
    function text(uint8 code) internal pure returns (string memory) {
        if (code == ALLOWED) return "allowed";
        if (code == PAUSED) return "transfers are paused";
        if (code == FROZEN) return "the amount is frozen";
        if (code == SOULBOUND) return "the deed never changes hands";
        if (code == ZERO_ADDRESS) return "the zero address takes no part in a transfer";
        if (code == SENDER_UNIDENTIFIED) return "the sender is not identified";
        if (code == SENDER_EXPIRED) return "the sender's identification has expired";
        if (code == SENDER_BLOCKED) return "the sender is blocked";
        if (code == SENDER_LEVEL) return "the sender's level is too low";
        if (code == SENDER_COUNTRY) return "the sender's country is not allowed";
        if (code == RECEIVER_UNIDENTIFIED) return "the receiver is not identified";
        if (code == RECEIVER_EXPIRED) return "the receiver's identification has expired";
        if (code == RECEIVER_BLOCKED) return "the receiver is blocked";
        if (code == RECEIVER_LEVEL) return "the receiver's level is too low";
        if (code == RECEIVER_COUNTRY) return "the receiver's country is not allowed";
        if (code == SPENDER_BLOCKED) return "the spender is blocked";
        if (code == SPENDER_FROZEN) return "the spender is frozen";
        if (code == HOLDERS_MAX) return "there would be too many holders";
        if (code == COUNTRY_HOLDERS_MAX) return "there would be too many holders in the receiver's country";
        if (code == HOLDING_MAX) return "the receiver would hold too much";
        if (code == LOCKED) return "the amount is locked";
        if (code == REGISTRY_FAILED) return "the registry failed to answer";
        return "unknown";
    }
}
