// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {DeedToken} from "../DeedToken.sol";
import {DeedTokenFixture, Receiver, RegistryMock} from "./DeedTokenMocks.sol";
import {Harness} from "./Harness.sol";

/// @dev Does at random what people, issuers and enforcers do, and keeps its own record of who should hold what.
contract DeedTokenHandler is DeedTokenFixture {
    uint256 public constant DEEDS = 8;

    DeedToken public subject;
    RegistryMock public rules = registry;
    bool public soulbound;
    address[] public people;
    uint256[] private _keys;

    mapping(uint256 deed => address) public holderExpected;
    mapping(uint256 deed => bool) public retiredOnce;
    uint256 public publicMoves;
    string public violation;
    uint256 private _nonce;

    constructor(bool soulbound_) {
        soulbound = soulbound_;
        subject = make(address(registry), soulbound_);
        for (uint256 key = 1; key <= 4; ++key) {
            _keys.push(key);
            people.push(vm.addr(key));
        }
        people.push(address(new Receiver()));
    }

    function count() external view returns (uint256) {
        return people.length;
    }

    function issue(uint256 who, uint256 deed) external {
        deed = _deed(deed);
        address to = _person(who);
        bool allowed = !subject.paused() && subject.canReceive(to) && holderExpected[deed] == address(0);
        bool done = _try(abi.encodeCall(DeedToken.mintDeed, (to, deed, "u", HASH, id())));
        if (done && (!allowed || retiredOnce[deed])) violation = "issue";
        if (done) holderExpected[deed] = to;
    }

    function retire(uint256 deed) external {
        deed = _deed(deed);
        bool paused = subject.paused();
        bool done = _try(abi.encodeCall(DeedToken.retire, (deed, "r", id())));
        if (done != (!paused && holderExpected[deed] != address(0))) violation = "retire";
        if (done) {
            holderExpected[deed] = address(0);
            retiredOnce[deed] = true;
        }
    }

    function transfer(uint256 caller, uint256 to, uint256 deed, uint256 way) external {
        deed = _deed(deed);
        address from = holderExpected[deed];
        address spender = way % 2 == 0 ? _person(caller) : from;
        _publicMove(spender, from, _person(to), deed, _call(from, _person(to), deed, (way / 2) % 3));
    }

    /// @dev A holder's own transfer of a deed that there is, so that a good part of the moves succeeds.
    function transferOwn(uint256 to, uint256 seed) external {
        for (uint256 i = 0; i < DEEDS; ++i) {
            uint256 deed = _deed(seed % DEEDS + i);
            address from = holderExpected[deed];
            if (from == address(0)) continue;
            _publicMove(from, from, _person(to), deed, _call(from, _person(to), deed, (seed >> 8) % 3));
            return;
        }
    }

    function transferSigned(uint256 key, uint256 to, uint256 deed) external {
        deed = _deed(deed);
        uint256 signer = _keys[key % _keys.length];
        bytes memory call = signTransfer(signer, address(subject), _person(to), deed, bytes32(++_nonce));
        _publicMove(vm.addr(signer), vm.addr(signer), _person(to), deed, call);
    }

    function approve(uint256 spender, uint256 deed) external {
        deed = _deed(deed);
        vm.prank(holderExpected[deed]);
        _try(abi.encodeWithSignature("approve(address,uint256)", _person(spender), deed));
    }

    function approveAll(uint256 holder, uint256 operator, bool approved) external {
        vm.prank(_person(holder));
        subject.setApprovalForAll(_person(operator), approved);
    }

    function force(uint256 to, uint256 deed, bool withReason) external {
        deed = _deed(deed);
        address from = holderExpected[deed];
        bool allowed = from != address(0) && !rules.blocked(_person(to));
        bool done = _try(
            withReason
                ? abi.encodeCall(DeedToken.forcedTransferRef, (from, _person(to), deed, "r", HASH, id()))
                : abi.encodeCall(DeedToken.forcedTransfer, (from, _person(to), deed))
        );
        if (done != allowed) violation = "force";
        if (done) {
            holderExpected[deed] = _person(to);
            if (from != _person(to) && subject.getFrozenTokens(from, deed)) violation = "not released";
        }
    }

    function freeze(uint256 who, uint256 deed, uint256 chance) external {
        subject.setFrozenTokens(_person(who), _deed(deed), chance % 4 == 0);
    }

    function pause(uint256 chance) external {
        if (chance % 4 == 0 && !subject.paused()) subject.pause(id());
        else if (subject.paused()) subject.unpause(id());
    }

    function block_(uint256 who, uint256 chance) external {
        rules.block_(_person(who), chance % 4 == 0);
    }

    function limit(uint256 max) external {
        rules.limit(max % 4);
    }

    function _call(address from, address to, uint256 deed, uint256 way) private pure returns (bytes memory) {
        if (way == 0) return abi.encodeWithSignature("transferFrom(address,address,uint256)", from, to, deed);
        if (way == 1) return abi.encodeWithSignature("safeTransferFrom(address,address,uint256)", from, to, deed);
        return abi.encodeWithSignature("safeTransferFrom(address,address,uint256,bytes)", from, to, deed, "data");
    }

    function _publicMove(address spender, address from, address to, uint256 deed, bytes memory call) private {
        address holder = holderExpected[deed];
        bool explained = subject.explainTransfer(spender, from, to, deed).code == 0;
        bool authorized = holder != address(0) &&
            holder == from &&
            (spender == holder ||
                subject.getApproved(deed) == spender ||
                subject.isApprovedForAll(holder, spender));
        bool forbidden = soulbound ||
            subject.paused() ||
            subject.getFrozenTokens(from, deed) ||
            rules.blocked(from) ||
            rules.blocked(to) ||
            rules.blocked(spender);
        vm.prank(spender);
        bool done = _try(call);
        if (done && forbidden) violation = "a forbidden deed moved";
        if (done != (explained && authorized)) violation = "not as explained";
        if (done) {
            ++publicMoves;
            holderExpected[deed] = to;
        }
    }

    function _try(bytes memory call) private returns (bool done) {
        (done, ) = address(subject).call(call);
    }

    function _person(uint256 seed) private view returns (address) {
        return people[seed % people.length];
    }

    function _deed(uint256 seed) private pure returns (uint256) {
        return 1 + (seed % DEEDS);
    }
}

contract DeedTokenInvariantTest is Harness {
    DeedTokenHandler private _ordinary;
    DeedTokenHandler private _soulbound;

    function setUp() public {
        _ordinary = new DeedTokenHandler(false);
        _soulbound = new DeedTokenHandler(true);
        targetContract(address(_ordinary));
        targetContract(address(_soulbound));
    }

    function invariant_no_rule_was_broken() public view {
        assertEq(_ordinary.violation(), "", _ordinary.violation());
        assertEq(_soulbound.violation(), "", _soulbound.violation());
        assertEq(_soulbound.publicMoves(), 0, "a soulbound deed stays");
    }

    function invariant_a_deed_has_one_holder_or_none() public view {
        _books(_ordinary);
        _books(_soulbound);
    }

    /// @dev Holders as recorded beside the token, balances, the supply and the registry's counts are one and the same.
    function _books(DeedTokenHandler handler) private view {
        DeedToken token = handler.subject();
        uint256 people = handler.count();
        uint256[] memory held = new uint256[](people);
        uint256 existing;
        for (uint256 deed = 1; deed <= handler.DEEDS(); ++deed) {
            address expected = handler.holderExpected(deed);
            (bool there, bytes memory answer) = address(token).staticcall(
                abi.encodeWithSignature("ownerOf(uint256)", deed)
            );
            assertEq(there, expected != address(0), "there or not");
            if (!there) continue;
            ++existing;
            assertEq(abi.decode(answer, (address)), expected, "holder");
            for (uint256 i = 0; i < people; ++i) if (handler.people(i) == expected) ++held[i];
        }
        uint256 sum;
        for (uint256 i = 0; i < people; ++i) {
            uint256 balance = token.balanceOf(handler.people(i));
            assertEq(balance, held[i], "balance");
            assertEq(handler.rules().holding(handler.people(i)), balance, "the registry's count");
            sum += balance;
        }
        assertEq(sum, token.totalSupply(), "sum of balances");
        assertEq(existing, token.totalSupply(), "deeds that are there");
    }
}
