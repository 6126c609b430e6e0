// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @notice What a deed token is made with.
/// @param name The asset's name, of any length.
/// @param symbol The short name.
/// @param authority The contract that says who may call what.
/// @param registry The compliance registry; the zero address for none.
/// @param assetId The asset.
/// @param termsHash The hash of the asset's terms.
/// @param soulbound True if a deed stays with the holder that it is issued to, but for enforcement.
struct DeedTerms {
    string name;
    string symbol;
    address authority;
    address registry;
    bytes32 assetId;
    bytes32 termsHash;
    bool soulbound;
}
