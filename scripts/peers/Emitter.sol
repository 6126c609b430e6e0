// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev The holders that both contracts draw from.
function holder(uint256 number) pure returns (address) {
    return address(uint160(uint256(keccak256(abi.encode(number)))));
}

/// @notice Announces transfers of an ERC-20 and keeps no balance, so that a chain full of events costs its node little.
contract FungibleEmitter {
    uint256 private constant OPENING = 1e24;
    uint256 private constant AMOUNT_MAX = 1e18; // far below what anyone opens with, so no holding is ever negative

    event Transfer(address indexed from, address indexed to, uint256 amount);

    /// @notice Mint to the holders from `first` up to, not including, `end`.
    function open(uint256 first, uint256 end) external {
        for (uint256 number = first; number < end; number++) emit Transfer(address(0), holder(number), OPENING);
    }

    /// @notice Announce `count` transfers among the first `holders` holders, drawn from `seed`.
    function burst(uint256 seed, uint256 count, uint256 holders) external {
        for (uint256 i = 0; i < count; i++) {
            uint256 drawn = uint256(keccak256(abi.encode(seed, i)));
            emit Transfer(holder(drawn % holders), holder((drawn >> 64) % holders), (drawn >> 128) % AMOUNT_MAX);
        }
    }
}

/// @notice Announces the life of ERC-721 deeds without keeping their owners: each is issued once and moves once.
contract DeedEmitter {
    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);

    uint256 private constant BURSTS = 2; // in a block, whose order is the node's choice

    /// @notice Issue the deeds of burst `turn`, `count` of them, and move those of its like in the block before.
    function burst(uint256 turn, uint256 count, uint256 holders) external {
        for (uint256 i = 0; i < count; i++) {
            uint256 deed = turn * count + i;
            emit Transfer(address(0), holder(_drawn(deed, 0) % holders), deed);
            if (turn < BURSTS) continue;
            uint256 moved = deed - BURSTS * count;
            emit Transfer(holder(_drawn(moved, 0) % holders), holder(_drawn(moved, 1) % holders), moved);
        }
    }

    function _drawn(uint256 deed, uint256 move) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(deed, move)));
    }
}
