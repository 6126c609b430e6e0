// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AssetToken} from "../AssetToken.sol";
import {IComplianceRegistry} from "../parts/IComplianceRegistry.sol";
import {IReserve} from "../parts/IReserve.sol";
import {Restriction, Restrictions, TransferRestricted} from "../parts/Restrictions.sol";
import {TokenTerms} from "../parts/TokenTerms.sol";
import {Harness, Vm} from "./Harness.sol";

/// @dev Lets its maker, and whom the maker names, call everything.
contract OpenAuthority {
    mapping(address caller => bool) private _allowed;

    constructor() {
        _allowed[msg.sender] = true;
    }

    function allow(address caller) external {
        _allowed[caller] = true;
    }

    function canCall(address caller, address, bytes4) external view returns (bool, uint32) {
        return (_allowed[caller], 0);
    }
}

/// @dev Judges by a list of blocked accounts and a largest holding, and fails as it is told.
contract FakeRegistry is IComplianceRegistry {
    enum Mode {
        WORKS,
        REVERTS,
        EATS_GAS,
        LONG_CODE,
        DIRTY_ADDRESS,
        LONG_ANSWER,
        EMPTY_ANSWER,
        RETURN_BOMB
    }

    struct Seen {
        address spender;
        address from;
        address to;
        uint256 amount;
        uint256 fromBalance;
        uint256 toBalance;
        uint256 calls;
        uint256 forced;
    }

    Mode public mode;
    uint256 public holdingMax;
    mapping(address account => bool) public blocked;
    mapping(address account => uint256) public told;
    Seen private _seen;
    address private _callee;
    bytes private _data;
    bool public calledBack;

    function fail(Mode mode_) external {
        mode = mode_;
    }

    function setBlocked(address account, bool blocked_) external {
        blocked[account] = blocked_;
    }

    function setHoldingMax(uint256 holdingMax_) external {
        holdingMax = holdingMax_;
    }

    /// @dev What to call in the midst of the next hook.
    function callBack(address callee, bytes calldata data) external {
        _callee = callee;
        _data = data;
    }

    function seen() external view returns (Seen memory) {
        return _seen;
    }

    function check(
        address token,
        address spender,
        address from,
        address to,
        uint256 amount
    ) external view returns (Restriction memory) {
        _misbehave();
        uint256 held = to == address(0) ? 0 : AssetToken(token).balanceOf(to);
        if (from != to && held > type(uint256).max - amount) return Restriction(Restrictions.HOLDING_MAX, to, 0, 0);
        return _rule(spender, from, to, from == to ? held : held + amount);
    }

    function canSend(address, address account) external view returns (bool) {
        _misbehave();
        return !blocked[account];
    }

    function canReceive(address, address account) external view returns (bool) {
        _misbehave();
        return !blocked[account];
    }

    function onTransfer(
        address spender,
        address from,
        address to,
        uint256 amount,
        uint256 fromBalance,
        uint256 toBalance
    ) external {
        _misbehave();
        Restriction memory found = _rule(spender, from, to, toBalance);
        require(found.code == 0, TransferRestricted(found.code, found.account, found.limit, found.actual));
        _seen = Seen(spender, from, to, amount, fromBalance, toBalance, _seen.calls + 1, _seen.forced);
        (told[from], told[to]) = (fromBalance, toBalance);
        _reenter();
    }

    function onForcedTransfer(
        address from,
        address to,
        uint256 amount,
        uint256 fromBalance,
        uint256 toBalance
    ) external {
        _misbehave();
        _seen = Seen(address(0), from, to, amount, fromBalance, toBalance, _seen.calls, _seen.forced + 1);
        (told[from], told[to]) = (fromBalance, toBalance);
        _reenter();
    }

    function _rule(
        address spender,
        address from,
        address to,
        uint256 holding
    ) private view returns (Restriction memory) {
        if (spender != address(0) && blocked[spender])
            return Restriction(Restrictions.SPENDER_BLOCKED, spender, 0, 0);
        if (from != address(0) && blocked[from]) return Restriction(Restrictions.SENDER_BLOCKED, from, 0, 0);
        if (to == address(0)) return Restriction(0, address(0), 0, 0);
        if (blocked[to]) return Restriction(Restrictions.RECEIVER_BLOCKED, to, 0, 0);
        if (holdingMax != 0 && from != to && holding > holdingMax)
            return Restriction(Restrictions.HOLDING_MAX, to, holdingMax, holding);
        return Restriction(0, address(0), 0, 0);
    }

    function _reenter() private {
        if (_callee == address(0)) return;
        address callee = _callee;
        _callee = address(0);
        (calledBack, ) = callee.call(_data);
    }

    function _misbehave() private view {
        Mode mode_ = mode;
        if (mode_ == Mode.WORKS) return;
        if (mode_ == Mode.EATS_GAS) {
            uint256 i;
            while (true) ++i;
        }
        require(mode_ != Mode.REVERTS, "broken");
        assembly ("memory-safe") {
            let answer := mload(0x40)
            switch mode_
            case 3 {
                mstore(answer, 256)
                return(answer, 128)
            }
            case 4 {
                mstore(answer, 2)
                mstore(add(answer, 32), not(0))
                return(answer, 128)
            }
            case 5 {
                return(answer, 160)
            }
            case 7 {
                revert(0, 600000)
            }
            default {
                return(answer, 0)
            }
        }
    }
}

/// @dev Backs as much as it is told.
contract FakeReserve is IReserve {
    uint256 public attested;

    error ReserveExceeded(uint256 supply, uint256 attested);

    function set(uint256 attested_) external {
        attested = attested_;
    }

    function requireBacked(uint256 supply) external view {
        require(supply <= attested, ReserveExceeded(supply, attested));
    }
}

/// @dev Terms, ids and signatures for the tests of the fungible kinds.
abstract contract TokenFixture is Harness {
    uint256 internal constant ALICE_KEY = 0xA11CE;
    uint256 internal constant BOB_KEY = 0xB0B;
    uint256 internal constant NOW = 1_800_000_000;
    bytes32 internal constant REF = keccak256("order 7");

    address internal alice = vm.addr(ALICE_KEY);
    address internal bob = vm.addr(BOB_KEY);
    address internal carol = address(0xCA401);
    address internal stranger = address(0xDEAD1);
    OpenAuthority internal authority = new OpenAuthority();
    uint256 private _operations;

    function nextId() internal returns (bytes32) {
        return bytes32(++_operations);
    }

    function terms(address registry, address reserve) internal view returns (TokenTerms memory) {
        return
            TokenTerms(
                "Participating Notes of the Harbour Warehouse No. 7, Series A",
                "HWN7",
                2,
                address(authority),
                registry,
                reserve,
                keccak256("asset"),
                keccak256("terms")
            );
    }

    function sign(
        uint256 key,
        bytes32 domain,
        bytes32 structHash
    ) internal pure returns (uint8 v, bytes32 r, bytes32 s) {
        return vm.sign(key, keccak256(abi.encodePacked(hex"1901", domain, structHash)));
    }

    function pair(address first, address second) internal pure returns (address[] memory list) {
        list = new address[](2);
        (list[0], list[1]) = (first, second);
    }

    function pair(uint256 first, uint256 second) internal pure returns (uint256[] memory list) {
        list = new uint256[](2);
        (list[0], list[1]) = (first, second);
    }

    function topicsOf(Vm.Log[] memory logs) internal pure returns (bytes32[] memory topics) {
        topics = new bytes32[](logs.length);
        for (uint256 i = 0; i < logs.length; ++i) topics[i] = logs[i].topics[0];
    }
}
