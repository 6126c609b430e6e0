// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @dev What these tests use of forge's cheatcodes. Source: Foundry's cheatcode reference.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function expectRevert() external;
    function expectRevert(bytes4 selector) external;
    function expectRevert(bytes calldata data) external;
    function expectPartialRevert(bytes4 selector) external;
    function expectEmit() external;
    function expectEmit(address emitter) external;
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function warp(uint256 timestamp) external;
    function roll(uint256 number) external;
    function deal(address account, uint256 balance) external;
    function etch(address account, bytes calldata code) external;
    function mockCall(address callee, bytes calldata data, bytes calldata answer) external;
    function mockCallRevert(address callee, bytes calldata data, bytes calldata answer) external;
    function clearMockedCalls() external;
    function assume(bool condition) external pure;
    function label(address account, string calldata name) external;
    function load(address account, bytes32 slot) external view returns (bytes32);
    function store(address account, bytes32 slot, bytes32 word) external;
    function snapshotState() external returns (uint256);
    function revertToState(uint256 id) external returns (bool);
}

/// @dev Assertions and cheatcodes, and nothing that a test does not use.
abstract contract Harness {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    address[] private _targets;
    FuzzSelector[] private _targetSelectors;
    address[] private _excludedSenders;

    error NotEqual(string what, bytes32 left, bytes32 right);
    error NotTrue(string what);

    function targetContract(address target) internal {
        _targets.push(target);
    }

    function targetSelector(FuzzSelector memory selector) internal {
        _targetSelectors.push(selector);
    }

    function excludeSender(address sender) internal {
        _excludedSenders.push(sender);
    }

    /// @dev Forge asks these three by name before an invariant run.
    function targetContracts() public view returns (address[] memory) {
        return _targets;
    }

    function targetSelectors() public view returns (FuzzSelector[] memory) {
        return _targetSelectors;
    }

    function excludeSenders() public view returns (address[] memory) {
        return _excludedSenders;
    }

    function assertTrue(bool condition, string memory what) internal pure {
        require(condition, NotTrue(what));
    }

    function assertEq(uint256 left, uint256 right, string memory what) internal pure {
        require(left == right, NotEqual(what, bytes32(left), bytes32(right)));
    }

    function assertEq(address left, address right, string memory what) internal pure {
        require(left == right, NotEqual(what, bytes32(uint256(uint160(left))), bytes32(uint256(uint160(right)))));
    }

    function assertEq(bytes32 left, bytes32 right, string memory what) internal pure {
        require(left == right, NotEqual(what, left, right));
    }

    function assertEq(bool left, bool right, string memory what) internal pure {
        require(left == right, NotEqual(what, bytes32(uint256(left ? 1 : 0)), bytes32(uint256(right ? 1 : 0))));
    }

    function assertEq(string memory left, string memory right, string memory what) internal pure {
        require(keccak256(bytes(left)) == keccak256(bytes(right)), NotTrue(what));
    }

    function bound(uint256 raw, uint256 low, uint256 high) internal pure returns (uint256) {
        if (raw >= low && raw <= high) return raw;
        uint256 span = high - low + 1;
        return span == 0 ? raw : low + (raw % span);
    }
}
