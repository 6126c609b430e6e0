// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IComplianceRegistry} from "../parts/IComplianceRegistry.sol";

/// @dev A token that does nothing but keep balances and tell the registry of every move.
contract RegistryToken {
    address public registry;
    uint256 public totalSupply;
    mapping(address account => uint256) public balanceOf;

    constructor(address registry_) {
        registry = registry_;
    }

    function detach() external {
        registry = address(0);
    }

    function mint(address to, uint256 amount) external {
        _checked(address(0), address(0), to, amount);
    }

    function redeem(address from, uint256 amount) external {
        _checked(address(0), from, address(0), amount);
    }

    function transfer(address from, address to, uint256 amount) external {
        _checked(address(0), from, to, amount);
    }

    function transferBy(address spender, address from, address to, uint256 amount) external {
        _checked(spender, from, to, amount);
    }

    function force(address from, address to, uint256 amount) external {
        _move(from, to, amount);
        if (registry != address(0))
            IComplianceRegistry(registry).onForcedTransfer(from, to, amount, _balance(from), _balance(to));
    }

    /// @dev What a broken hook would leave behind.
    function forceUntold(address from, address to, uint256 amount) external {
        _move(from, to, amount);
    }

    function _checked(address spender, address from, address to, uint256 amount) private {
        _move(from, to, amount);
        if (registry != address(0))
            IComplianceRegistry(registry).onTransfer(spender, from, to, amount, _balance(from), _balance(to));
    }

    function _move(address from, address to, uint256 amount) private {
        if (from == address(0)) totalSupply += amount;
        else balanceOf[from] -= amount;
        if (to == address(0)) totalSupply -= amount;
        else balanceOf[to] += amount;
    }

    function _balance(address account) private view returns (uint256) {
        return account == address(0) ? 0 : balanceOf[account];
    }
}
