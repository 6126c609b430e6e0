// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @dev A token of others: honest until it is told to be otherwise.
contract OddToken {
    event Transfer(address indexed from, address indexed to, uint256 value);

    mapping(address account => uint256) private _shares;
    uint256 private _supply;
    uint256 public factor = 1;
    uint256 public fee;
    bool public silent;

    function mint(address to, uint256 amount) external {
        _shares[to] += amount;
        _supply += amount;
        emit Transfer(address(0), to, amount * factor);
    }

    function be(uint256 factor_, uint256 fee_, bool silent_) external {
        (factor, fee, silent) = (factor_, fee_, silent_);
    }

    function balanceOf(address account) external view returns (uint256) {
        return _shares[account] * factor;
    }

    function totalSupply() external view returns (uint256) {
        return _supply * factor;
    }

    function transfer(address to, uint256 amount) external {
        _shares[msg.sender] -= amount / factor;
        _shares[to] += amount / factor - (amount == 0 ? 0 : fee);
        _shares[address(this)] += (amount == 0 ? 0 : fee);
        emit Transfer(msg.sender, to, amount);
        if (silent) return;
        assembly {
            mstore(0, 1)
            return(0, 32)
        }
    }
}
