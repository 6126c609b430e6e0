// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {BeaconProxy} from "@openzeppelin/contracts/proxy/beacon/BeaconProxy.sol";

/// @dev OpenZeppelin's proxy behind a beacon, with a token's state of its own.
contract OddBeaconProxy is BeaconProxy {
    constructor(address beacon) BeaconProxy(beacon, abi.encodeWithSignature("be(uint256,uint256,bool)", 1, 0, false)) {}

    receive() external payable {}
}
