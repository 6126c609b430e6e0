// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721Consecutive} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721Consecutive.sol";

/// Five deeds that are told of by one event (ERC-2309), and without a transfer of each.
contract BatchERC721 is ERC721Consecutive {
    constructor() ERC721("Batch", "BTC") {
        _mintConsecutive(msg.sender, 5);
    }
}
