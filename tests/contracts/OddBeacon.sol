// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {UpgradeableBeacon} from "@openzeppelin/contracts/proxy/beacon/UpgradeableBeacon.sol";

/// @dev OpenZeppelin's beacon, which its maker may upgrade, with or without a word.
contract OddBeacon is UpgradeableBeacon {
    address private _silent;

    constructor(address implementation_) UpgradeableBeacon(implementation_, msg.sender) {}

    function upgradeSilently(address implementation_) external {
        _silent = implementation_;
    }

    function implementation() public view override returns (address) {
        return _silent == address(0) ? super.implementation() : _silent;
    }
}
