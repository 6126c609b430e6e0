// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";

/// @title OpenZeppelin's ERC-721 and nothing else: whoever likes may make one.
contract PlainERC721 is ERC721 {
    constructor() ERC721("Cats", "CAT") {}

    function mint(address to, uint256 id) external {
        _mint(to, id);
    }
}
