// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IERC1967} from "@openzeppelin/contracts/interfaces/IERC1967.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";

/// @dev A proxy of others, which anybody may upgrade, with or without a word.
contract OddProxy is ERC1967Proxy {
    constructor(address implementation)
        ERC1967Proxy(implementation, abi.encodeWithSignature("be(uint256,uint256,bool)", 1, 0, false))
    {}

    receive() external payable {}

    function upgrade(address implementation) external {
        ERC1967Utils.upgradeToAndCall(implementation, "");
    }

    function announceBeacon(address beacon) external {
        emit IERC1967.BeaconUpgraded(beacon);
    }

    function upgradeSilently(address implementation) external {
        bytes32 slot = ERC1967Utils.IMPLEMENTATION_SLOT;
        assembly {
            sstore(slot, implementation)
        }
    }
}
