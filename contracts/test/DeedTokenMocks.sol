// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {DeedToken} from "../DeedToken.sol";
import {DeedAuthorizations} from "../parts/DeedAuthorizations.sol";
import {DeedTerms} from "../parts/DeedTerms.sol";
import {IComplianceRegistry} from "../parts/IComplianceRegistry.sol";
import {Restriction, Restrictions, TransferRestricted} from "../parts/Restrictions.sol";
import {Harness} from "./Harness.sol";

/// @dev Lets its maker call everything, and nobody else anything.
contract AuthorityMock {
    address private immutable _maker = msg.sender;

    function canCall(address caller, address, bytes4) external view returns (bool, uint32) {
        return (caller == _maker, 0);
    }
}

/// @dev Blocks accounts and limits holdings; remembers what it was told last.
contract RegistryMock is IComplianceRegistry {
    struct Told {
        address spender;
        address from;
        address to;
        uint256 amount;
        uint256 fromBalance;
        uint256 toBalance;
    }

    mapping(address account => bool) public blocked;
    mapping(address account => uint256) public holding;
    uint256 public holdingMax;
    uint256 public judged;
    uint256 public forced;
    Told private _last;

    function block_(address account, bool blocked_) external {
        blocked[account] = blocked_;
    }

    function limit(uint256 max) external {
        holdingMax = max;
    }

    function last() external view returns (Told memory) {
        return _last;
    }

    function check(
        address,
        address spender,
        address from,
        address to,
        uint256 amount
    ) public view returns (Restriction memory) {
        if (blocked[spender]) return Restriction(Restrictions.SPENDER_BLOCKED, spender, 0, 0);
        if (blocked[from]) return Restriction(Restrictions.SENDER_BLOCKED, from, 0, 0);
        if (blocked[to]) return Restriction(Restrictions.RECEIVER_BLOCKED, to, 0, 0);
        if (from != to && holdingMax != 0 && holding[to] + amount > holdingMax)
            return Restriction(Restrictions.HOLDING_MAX, to, holdingMax, holding[to] + amount);
        return Restriction(0, address(0), 0, 0);
    }

    function canSend(address, address account) external view returns (bool) {
        return !blocked[account];
    }

    function canReceive(address, address account) external view returns (bool) {
        return !blocked[account];
    }

    function onTransfer(address spender, address from, address to, uint256 amount, uint256 left, uint256 got) external {
        Restriction memory found = check(msg.sender, spender, from, to, amount);
        require(found.code == 0, TransferRestricted(found.code, found.account, found.limit, found.actual));
        ++judged;
        _count(Told(spender, from, to, amount, left, got));
    }

    function onForcedTransfer(address from, address to, uint256 amount, uint256 left, uint256 got) external {
        ++forced;
        _count(Told(address(0), from, to, amount, left, got));
    }

    function _count(Told memory told) internal virtual {
        _last = told;
        if (told.from != address(0)) holding[told.from] = told.fromBalance;
        if (told.to != address(0)) holding[told.to] = told.toBalance;
    }
}

/// @dev Fails at everything, in one of several ways; its code is put over a registry that worked.
contract RevertingRegistry {
    fallback() external {
        revert("out of order");
    }
}

contract GasEatingRegistry {
    fallback() external {
        while (true) {}
    }
}

contract NonsenseRegistry {
    fallback() external {
        assembly {
            mstore(0, not(0))
            mstore(0x20, not(0))
            mstore(0x40, not(0))
            mstore(0x60, not(0))
            return(0, 0x80)
        }
    }
}

contract ShortAnswerRegistry {
    fallback() external {
        assembly {
            mstore8(0, 1)
            return(0, 1)
        }
    }
}

contract LongAnswerRegistry {
    fallback() external {
        assembly {
            revert(0, 10000)
        }
    }
}

/// @dev Calls the token back from its hooks, once each time it is armed.
contract ReentrantRegistry is RegistryMock {
    address public target;
    bytes public attack;
    bool public worked;
    address public holderSeen;
    uint256 private _deed;

    function arm(address target_, uint256 deed, bytes calldata attack_) external {
        target = target_;
        _deed = deed;
        attack = attack_;
        worked = false;
        holderSeen = address(0);
    }

    function _count(Told memory told) internal override {
        super._count(told);
        if (target == address(0)) return;
        address target_ = target;
        target = address(0);
        if (told.to != address(0)) holderSeen = IERC721(target_).ownerOf(_deed);
        (worked, ) = target_.call(attack);
    }
}

/// @dev A contract that takes deeds and, when armed, uses the call it gets for a call of its own.
contract Receiver {
    address public target;
    bytes public attack;
    bool public worked;
    uint256 public called;

    function arm(address target_, bytes calldata attack_) external {
        target = target_;
        attack = attack_;
    }

    function onERC721Received(address, address, uint256, bytes calldata) external returns (bytes4) {
        ++called;
        if (target != address(0)) (worked, ) = target.call(attack);
        return this.onERC721Received.selector;
    }
}

/// @dev A token, its registry and four people, of whom two can sign.
abstract contract DeedTokenFixture is Harness {
    uint256 internal constant ALICE_KEY = 0xA11CE;
    uint256 internal constant BOB_KEY = 0xB0B;
    bytes32 internal constant ASSET = bytes32("asset");
    bytes32 internal constant TERMS = bytes32("terms");
    bytes32 internal constant HASH = bytes32("hash");
    string internal constant LONG_NAME = "Title deeds of the Example Street Residential Property Fund";

    address internal alice = vm.addr(ALICE_KEY);
    address internal bob = vm.addr(BOB_KEY);
    address internal carol = address(0xCA401);
    address internal stranger = address(0x5714);
    AuthorityMock internal authority = new AuthorityMock();
    RegistryMock internal registry = new RegistryMock();
    DeedToken internal token = make(address(registry), false);
    uint256 private _ids;

    function make(address registry_, bool soulbound) internal returns (DeedToken) {
        return new DeedToken(DeedTerms(LONG_NAME, "DEED", address(authority), registry_, ASSET, TERMS, soulbound));
    }

    /// @dev An operation id never given before.
    function id() internal returns (bytes32) {
        return bytes32(++_ids);
    }

    function mint(DeedToken on, address to, uint256 deed) internal {
        on.mintDeed(to, deed, "ipfs://deed", HASH, id());
    }

    function restricted(
        uint8 code,
        address account,
        uint256 limit,
        uint256 actual
    ) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(TransferRestricted.selector, code, account, limit, actual);
    }

    function domain(address verifier) internal view returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                    keccak256("DeedToken"),
                    keccak256("1"),
                    block.chainid,
                    verifier
                )
            );
    }

    function signTransfer(
        uint256 key,
        address verifier,
        address to,
        uint256 deed,
        bytes32 nonce
    ) internal view returns (bytes memory call) {
        return signTransfer(key, verifier, to, deed, 0, type(uint256).max, nonce);
    }

    /// @dev The whole call of `transferWithAuthorization`, signed by `key` for its own deed.
    function signTransfer(
        uint256 key,
        address verifier,
        address to,
        uint256 deed,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce
    ) internal view returns (bytes memory call) {
        bytes memory fields = abi.encode(vm.addr(key), to, deed, validAfter, validBefore, nonce);
        bytes32 typehash = keccak256(
            "TransferWithAuthorization(address from,address to,uint256 deedId,"
            "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        return _signed(DeedToken.transferWithAuthorization.selector, key, verifier, typehash, fields);
    }

    /// @dev The whole call of `approveWithAuthorization`.
    function signApprove(
        uint256 key,
        address verifier,
        address spender,
        uint256 deed,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce
    ) internal view returns (bytes memory call) {
        bytes memory fields = abi.encode(vm.addr(key), spender, deed, validAfter, validBefore, nonce);
        bytes32 typehash = keccak256(
            "ApproveWithAuthorization(address owner,address spender,uint256 deedId,"
            "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        return _signed(DeedToken.approveWithAuthorization.selector, key, verifier, typehash, fields);
    }

    /// @dev The whole call of `cancelAuthorization`.
    function signCancel(uint256 key, address verifier, bytes32 nonce) internal view returns (bytes memory call) {
        bytes32 typehash = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
        bytes memory fields = abi.encode(vm.addr(key), nonce);
        return _signed(DeedAuthorizations.cancelAuthorization.selector, key, verifier, typehash, fields);
    }

    /// @dev A signed order's arguments are its fields followed by the signature.
    function _signed(
        bytes4 selector,
        uint256 key,
        address verifier,
        bytes32 typehash,
        bytes memory fields
    ) private view returns (bytes memory) {
        bytes32 structHash = keccak256(bytes.concat(typehash, fields));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest(verifier, structHash));
        return bytes.concat(selector, fields, abi.encode(v, r, s));
    }

    /// @dev The call is refused, for exactly this reason.
    function refused(address target, bytes memory call, bytes memory refusal) internal {
        (bool done, bytes memory why) = target.call(call);
        assertTrue(!done, "refused");
        assertEq(keccak256(why), keccak256(refusal), "for this reason");
    }

    function accepted(address target, bytes memory call) internal {
        (bool done, ) = target.call(call);
        assertTrue(done, "accepted");
    }

    function digest(address verifier, bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(bytes2(0x1901), domain(verifier), structHash));
    }
}
