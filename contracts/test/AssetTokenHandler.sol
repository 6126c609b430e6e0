// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AssetToken} from "../AssetToken.sol";
import {FakeRegistry, TokenFixture} from "./AssetTokenMocks.sol";

/// @dev Does everything that anybody may do to a token, with a handful of accounts, and notes each broken law in
/// `broken`: forge passes over a revert in a handler, so a note is what an invariant can see.
contract AssetTokenHandler is TokenFixture {
    uint256 private constant ALL = type(uint256).max;
    bytes32 private constant TRANSFER =
        keccak256(
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );

    AssetToken public immutable token;
    FakeRegistry public immutable registry;
    string public broken;
    uint256 public minted;
    uint256 public gone;
    uint256 public moves;
    address[] internal actors;
    uint256 internal nonce;

    constructor(AssetToken token_, FakeRegistry registry_) {
        token = token_;
        registry = registry_;
        actors.push(vm.addr(1));
        actors.push(vm.addr(2));
        actors.push(vm.addr(3));
        actors.push(vm.addr(4));
    }

    function actorCount() external view returns (uint256) {
        return actors.length;
    }

    function actor(uint256 index) public view returns (address) {
        return actors[index % actors.length];
    }

    function mint(uint256 to, uint256 amount) external {
        amount = bound(amount, 0, 1e24);
        bool expected = !token.paused() && !registry.blocked(actor(to));
        (bool done, ) = address(token).call(abi.encodeCall(token.mint, (actor(to), amount, ticket())));
        if (done != expected) broken = "mint";
        if (done) minted += amount;
    }

    function burn(uint256 from, uint256 amount) external {
        address holder = actor(from);
        amount = bound(amount, 0, token.balanceOf(holder));
        uint256 free = unfrozen(holder);
        (bool done, ) = address(token).call(abi.encodeCall(token.burn, (holder, amount, ticket())));
        if (done == token.paused()) broken = "burn";
        if (!done) return;
        gone += amount;
        if (unfrozen(holder) > free) broken = "a burn freed units";
    }

    function force(uint256 from, uint256 to, uint256 amount) external {
        address holder = actor(from);
        amount = bound(amount, 0, token.balanceOf(holder));
        uint256 free = unfrozen(holder);
        (bool done, ) = address(token).call(
            abi.encodeCall(token.forcedTransferRef, (holder, actor(to), amount, "order", 0, ticket()))
        );
        if (done == registry.blocked(actor(to))) broken = "force";
        if (done && unfrozen(holder) > free) broken = "a forced transfer freed units";
    }

    function freeze(uint256 account, uint256 amount) external {
        token.setFrozenTokens(actor(account), amount % 5 == 0 ? ALL : bound(amount, 0, 1e24));
    }

    function thaw(uint256 account) external {
        token.setFrozenTokens(actor(account), 0);
    }

    function block_(uint256 account, bool blocked) external {
        registry.setBlocked(actor(account), blocked && account % 3 == 0);
    }

    function pause(uint256 seed) external {
        if (token.paused()) token.unpause(ticket());
        else if (seed % 4 == 0) token.pause(ticket());
    }

    function transfer(uint256 from, uint256 to, uint256 amount) external {
        amount = amountOf(actor(from), amount);
        bytes memory data = abi.encodeCall(token.transfer, (actor(to), amount));
        _publicly(actor(from), actor(from), actor(to), amount, data);
    }

    function transferFrom(uint256 spender, uint256 from, uint256 to, uint256 amount) external {
        vm.prank(actor(from));
        token.approve(actor(spender), ALL);
        amount = amountOf(actor(from), amount);
        bytes memory data = abi.encodeCall(token.transferFrom, (actor(from), actor(to), amount));
        _publicly(actor(spender), actor(from), actor(to), amount, data);
    }

    function batch(uint256 from, uint256 to, uint256 amount) external {
        amount = amountOf(actor(from), amount);
        address[] memory receivers = new address[](1);
        uint256[] memory amounts = new uint256[](1);
        (receivers[0], amounts[0]) = (actor(to), amount);
        _publicly(
            actor(from),
            actor(from),
            actor(to),
            amount,
            abi.encodeCall(token.batchTransfer, (receivers, amounts))
        );
    }

    function signed(uint256 from, uint256 to, uint256 amount) external {
        uint256 key = 1 + (from % actors.length);
        amount = amountOf(actor(from), amount);
        bytes32 word = ticket();
        (uint8 v, bytes32 r, bytes32 s) = sign(
            key,
            token.DOMAIN_SEPARATOR(),
            keccak256(abi.encode(TRANSFER, actor(from), actor(to), amount, 0, ALL, word))
        );
        bytes memory data = abi.encodeCall(
            token.transferWithAuthorization,
            (actor(from), actor(to), amount, 0, ALL, word, v, r, s)
        );
        _publicly(address(this), actor(from), actor(to), amount, data);
        (bool again, ) = address(token).call(data);
        if (again && token.authorizationState(actor(from), word) && amount != 0) {
            // The first use may have been refused; then this one was the first.
            (again, ) = address(token).call(data);
            if (again) broken = "a signature served twice";
        }
    }

    function redeem(uint256 from, uint256 amount) external {
        address holder = actor(from);
        amount = amountOf(holder, amount);
        bool expected = !token.paused() && !registry.blocked(holder) && amount <= free_(holder, amount);
        vm.prank(holder);
        (bool done, ) = address(token).call(abi.encodeCall(token.redeem, (amount, REF)));
        if (done != expected) broken = "redeem";
        if (done) gone += amount;
    }

    /// @dev A move by consent happens if, and only if, the view allowed it and the balance sufficed.
    function _publicly(address caller, address from, address to, uint256 amount, bytes memory data) private {
        address spender = caller == address(this) ? address(0) : caller;
        uint256 balance = token.balanceOf(from);
        bool allowed = token.explainTransfer(spender, from, to, amount).code == 0;
        if (spender == from && allowed != token.canTransfer(from, to, amount)) broken = "two views";
        bool lawful = !token.paused() &&
            !registry.blocked(from) &&
            !registry.blocked(to) &&
            amount <= free_(from, amount) &&
            (spender == address(0) || spender == from || (!registry.blocked(spender) && !all(spender)));
        if (caller != address(this)) vm.prank(caller);
        (bool done, ) = address(token).call(data);
        if (done != (allowed && amount <= balance)) broken = "view and transfer differ";
        if (done && !lawful) broken = "a public path moved what it may not";
        if (done && from != to && token.balanceOf(from) != balance - amount) broken = "amount";
        if (done) ++moves;
    }

    function unfrozen(address account) public view returns (uint256) {
        uint256 balance = token.balanceOf(account);
        uint256 frozen = token.getFrozenTokens(account);
        return balance > frozen ? balance - frozen : 0;
    }

    function free_(address account, uint256 amount) private view returns (uint256) {
        return amount == 0 ? 0 : unfrozen(account);
    }

    function all(address account) private view returns (bool) {
        return token.getFrozenTokens(account) == ALL;
    }

    /// @dev Mostly within the balance, and sometimes one beyond it.
    function amountOf(address account, uint256 raw) private view returns (uint256) {
        return bound(raw, 0, token.balanceOf(account) + 1);
    }

    function ticket() internal returns (bytes32) {
        return keccak256(abi.encode("ticket", ++nonce));
    }
}
