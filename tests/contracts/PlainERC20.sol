// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title OpenZeppelin's ERC-20 and nothing else.
/// @notice What the costs of our tokens are compared with, and the currency of payments.
contract PlainERC20 is ERC20 {
    /// @notice Makes the token; the maker holds all of it.
    constructor() ERC20("Plain", "PLN") {
        _mint(msg.sender, 1e18);
    }
}
