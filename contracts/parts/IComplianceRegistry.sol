// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {Restriction} from "./Restrictions.sol";

/// @title What a token asks of the registry that its rules live in.
/// @notice The views judge one move or one account; the two hooks tell the registry of a move that has just happened.
interface IComplianceRegistry {
    /// @notice Whether the rules of `token` let `amount` move from `from` to `to`. Never reverts.
    /// @param token The token; one that is not registered is answered with REGISTRY_FAILED.
    /// @param spender Who moves the units on the holder's behalf; the zero address for nobody but the holder.
    /// @param from The sender; the zero address for a mint.
    /// @param to The receiver; the zero address for a redemption by the holder.
    /// @param amount Base units; 1 for a deed.
    /// @return The first rule that is broken, or code ALLOWED.
    function check(
        address token,
        address spender,
        address from,
        address to,
        uint256 amount
    ) external view returns (Restriction memory);

    /// @notice Whether `account` may send units of `token`, whatever the amount and the receiver. Never reverts.
    /// @param token The token.
    /// @param account The sender.
    /// @return True if no rule on the account itself is broken.
    function canSend(address token, address account) external view returns (bool);

    /// @notice Whether `account` may receive units of `token`, whatever the amount and the sender. Never reverts.
    /// @param token The token.
    /// @param account The receiver.
    /// @return True if no rule on the account itself is broken.
    function canReceive(address token, address account) external view returns (bool);

    /// @notice Judges a move of the calling token by the state before it, then counts it. Reverts with
    /// TransferRestricted where `check` named a restriction.
    /// @param spender Who moved the units on the holder's behalf; the zero address for nobody but the holder.
    /// @param from The sender; the zero address for a mint.
    /// @param to The receiver; the zero address for a redemption by the holder.
    /// @param amount Base units; 1 for a deed.
    /// @param fromBalance What `from` holds after the move; 0 for a mint.
    /// @param toBalance What `to` holds after the move; 0 for a redemption.
    function onTransfer(
        address spender,
        address from,
        address to,
        uint256 amount,
        uint256 fromBalance,
        uint256 toBalance
    ) external;

    /// @notice Counts a move of the calling token that no rule may stop: a forced transfer, or a burn by permission.
    /// @param from The former holder.
    /// @param to The receiver; the zero address for a burn.
    /// @param amount Base units; 1 for a deed.
    /// @param fromBalance What `from` holds after the move.
    /// @param toBalance What `to` holds after the move; 0 for a burn.
    function onForcedTransfer(
        address from,
        address to,
        uint256 amount,
        uint256 fromBalance,
        uint256 toBalance
    ) external;
}
