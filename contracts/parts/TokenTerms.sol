// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @dev What an asset's fungible token is made with. One struct, since that many arguments exceed the stack.
/// name: the asset's, of any length; symbol: shown beside amounts; decimals: places of display, which change no
/// arithmetic; authority: the contract that knows the permissions; registry: judges and counts transfers, or zero;
/// reserve: answers whether the supply is backed, or zero; assetId and termsHash: which asset, on which terms.
struct TokenTerms {
    string name;
    string symbol;
    uint8 decimals;
    address authority;
    address registry;
    address reserve;
    bytes32 assetId;
    bytes32 termsHash;
}

/// @notice A token whose authority is no contract could never be minted.
error AuthorityMissing();
