// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @title What the registry asks of a token that it counts.
/// @notice Fungible units and deeds answer alike; a deed counts as one.
interface IRegistered {
    /// @notice How much exists.
    /// @return Base units or deeds.
    function totalSupply() external view returns (uint256);

    /// @notice How much `account` has.
    /// @param account The wallet.
    /// @return Base units or deeds.
    function balanceOf(address account) external view returns (uint256);

    /// @notice The registry that is told of every move.
    /// @return The registry; zero if there is none.
    function registry() external view returns (address);
}
