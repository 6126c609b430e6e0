// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @notice What a token asks of its reserve before it issues: is that much backed by what lies behind it?
interface IReserve {
    /// @notice Returns when the caller, a token, may have `supply` outstanding, and reverts otherwise.
    /// @param supply The total supply as it would be after the issue, in the token's smallest unit.
    function requireBacked(uint256 supply) external view;
}
