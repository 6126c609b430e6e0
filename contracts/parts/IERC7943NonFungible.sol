// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

/// @title ERC-7943 for tokens of which each is the only one of its id (interface id 0xbf1ef5fe).
/// @notice Names, types and order of everything here are the standard's; the words are ours.
interface IERC7943NonFungible is IERC165 {
    /// @notice A deed was moved by order, without its holder's consent.
    /// @param from The former holder.
    /// @param to The new holder.
    /// @param tokenId The deed.
    event ForcedTransfer(address indexed from, address indexed to, uint256 indexed tokenId);

    /// @notice From now on a deed is, or is no longer, frozen in the hands of one account.
    /// @param account The account, whether or not it holds the deed now.
    /// @param tokenId The deed.
    /// @param frozenStatus True if it is frozen.
    event Frozen(address indexed account, uint256 indexed tokenId, bool indexed frozenStatus);

    /// @notice No rule lets the account send anything.
    /// @param account The sender.
    error ERC7943CannotSend(address account);

    /// @notice No rule lets the account receive anything.
    /// @param account The receiver.
    error ERC7943CannotReceive(address account);

    /// @notice A rule forbids this one transfer.
    /// @param from The sender.
    /// @param to The receiver.
    /// @param tokenId The deed.
    error ERC7943CannotTransfer(address from, address to, uint256 tokenId);

    /// @notice The account holds the deed, but it is frozen there.
    /// @param account The holder.
    /// @param tokenId The deed.
    error ERC7943InsufficientUnfrozenBalance(address account, uint256 tokenId);

    /// @notice Moves a deed by order, frozen or not.
    /// @param from The holder.
    /// @param to The receiver, who must be allowed to receive.
    /// @param tokenId The deed.
    /// @return result Always true; a failure reverts.
    function forcedTransfer(address from, address to, uint256 tokenId) external returns (bool result);

    /// @notice Freezes or releases a deed in the hands of one account, whatever was set before.
    /// @param account The account, whether or not it holds the deed now.
    /// @param tokenId The deed.
    /// @param frozenStatus True to freeze it.
    /// @return result Always true; a failure reverts.
    function setFrozenTokens(address account, uint256 tokenId, bool frozenStatus) external returns (bool result);

    /// @notice Whether an account may send, whatever the deed and the receiver. Never reverts.
    /// @param account The sender.
    /// @return allowed True if no rule on the account itself is broken.
    function canSend(address account) external view returns (bool allowed);

    /// @notice Whether an account may receive, whatever the deed and the sender. Never reverts.
    /// @param account The receiver.
    /// @return allowed True if no rule on the account itself is broken.
    function canReceive(address account) external view returns (bool allowed);

    /// @notice Whether a deed is frozen in the hands of one account.
    /// @param account The account, whether or not it holds the deed.
    /// @param tokenId The deed.
    /// @return frozenStatus True if it is frozen.
    function getFrozenTokens(address account, uint256 tokenId) external view returns (bool frozenStatus);

    /// @notice Whether the rules let a deed move now; who holds it and who approved whom is not asked. Never reverts.
    /// @param from The sender.
    /// @param to The receiver.
    /// @param tokenId The deed.
    /// @return allowed True if no rule is broken.
    function canTransfer(address from, address to, uint256 tokenId) external view returns (bool allowed);
}
