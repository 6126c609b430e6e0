// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

/// @title ERC-7943 for ERC-20 tokens.
/// @notice Who may hold and move units, how many are frozen, and how units move by order of an authority.
interface IERC7943Fungible is IERC165 {
    /// @notice `amount` was moved without the holder's consent.
    /// @param from The former holder.
    /// @param to The receiver.
    /// @param amount Base units.
    event ForcedTransfer(address indexed from, address indexed to, uint256 amount);

    /// @notice From here on `amount` of what `account` holds, now or later, is frozen.
    /// @param account The holder.
    /// @param amount Base units in all, and not the difference; it may exceed the balance.
    event Frozen(address indexed account, uint256 amount);

    /// @notice `account` may not send.
    /// @param account The holder.
    error ERC7943CannotSend(address account);

    /// @notice `account` may not receive.
    /// @param account The receiver.
    error ERC7943CannotReceive(address account);

    /// @notice No rule of the token allows this transfer.
    /// @param from The holder.
    /// @param to The receiver.
    /// @param amount Base units.
    error ERC7943CannotTransfer(address from, address to, uint256 amount);

    /// @notice `account` holds `amount`, but only `unfrozen` of it may move.
    /// @param account The holder.
    /// @param amount Base units asked for.
    /// @param unfrozen Base units that may move.
    error ERC7943InsufficientUnfrozenBalance(address account, uint256 amount, uint256 unfrozen);

    /// @notice Moves units without the holder's consent, by permission.
    /// @param from The holder.
    /// @param to The receiver.
    /// @param amount Base units.
    /// @return True; a failure reverts.
    function forcedTransfer(address from, address to, uint256 amount) external returns (bool);

    /// @notice Sets how much of an account's units is frozen, by permission.
    /// @param account The holder.
    /// @param amount Base units in all; it may exceed the balance.
    /// @return True; a failure reverts.
    function setFrozenTokens(address account, uint256 amount) external returns (bool);

    /// @notice Whether `account` may send at all. Never reverts.
    /// @param account The holder.
    /// @return True if it may.
    function canSend(address account) external view returns (bool);

    /// @notice Whether `account` may receive at all. Never reverts.
    /// @param account The receiver.
    /// @return True if it may.
    function canReceive(address account) external view returns (bool);

    /// @notice How much of an account's units is frozen.
    /// @param account The holder.
    /// @return Base units; it may exceed the balance.
    function getFrozenTokens(address account) external view returns (uint256);

    /// @notice Whether the rules allow a transfer, whatever the balance and the allowance. Never reverts.
    /// @param from The holder.
    /// @param to The receiver.
    /// @param amount Base units.
    /// @return True if they do.
    function canTransfer(address from, address to, uint256 amount) external view returns (bool);
}
