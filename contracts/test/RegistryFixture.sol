// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {ComplianceRegistry} from "../ComplianceRegistry.sol";
import {IssuerAuthority} from "../IssuerAuthority.sol";
import {Restriction, TransferRestricted} from "../parts/Restrictions.sol";
import {Harness} from "./Harness.sol";
import {RegistryToken} from "./RegistryToken.sol";

/// @dev A registry whose every role the test has, and short forms of its writes.
abstract contract RegistryFixture is Harness {
    uint16 internal constant GERMANY = 276;
    uint16 internal constant FRANCE = 250;
    uint16 internal constant USA = 840;
    uint64 internal constant NOW = 1_800_000_000;

    bytes32 internal constant ALICE = keccak256("alice");
    bytes32 internal constant BOB = keccak256("bob");
    bytes32 internal constant CAROL = keccak256("carol");

    address internal constant ALICE_1 = address(0xA1);
    address internal constant ALICE_2 = address(0xA2);
    address internal constant BOB_1 = address(0xB1);
    address internal constant CAROL_1 = address(0xC1);
    address internal constant STRANGER = address(0xD1);

    IssuerAuthority internal authority;
    ComplianceRegistry internal registry;
    uint256 private _operations;

    function prepare() internal {
        vm.warp(NOW);
        authority = new IssuerAuthority(address(this), 0, address(0));
        registry = new ComplianceRegistry(address(authority));
    }

    function nextId() internal returns (bytes32) {
        return bytes32(++_operations);
    }

    function newToken() internal returns (RegistryToken) {
        return new RegistryToken(address(registry));
    }

    function none() internal pure returns (address[] memory) {
        return new address[](0);
    }

    function one(address token) internal pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = token;
    }

    function two(address left, address right) internal pure returns (address[] memory list) {
        list = new address[](2);
        (list[0], list[1]) = left < right ? (left, right) : (right, left);
    }

    function walletId(address wallet) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(wallet)));
    }

    function identify(bytes32 investor, uint16 country, uint8 level, uint64 expiresAt) internal {
        registry.setIdentity(investor, country, level, expiresAt, none(), nextId());
    }

    function link(address wallet, bytes32 investor) internal {
        registry.linkWallet(wallet, investor, none(), nextId());
    }

    function setPolicy(
        address token,
        uint8 levelMin,
        uint8 countryRule,
        uint32 holdersMax,
        uint32 countryHoldersMax,
        uint256 holdingMax,
        uint16[] memory countries
    ) internal {
        registry.setPolicy(
            token,
            ComplianceRegistry.Policy(levelMin, countryRule, holdersMax, countryHoldersMax, holdingMax),
            countries,
            nextId()
        );
    }

    /// @dev No rule at all.
    function openPolicy(address token) internal {
        setPolicy(token, 0, 0, 0, 0, 0, new uint16[](0));
    }

    function countries1(uint16 country) internal pure returns (uint16[] memory list) {
        list = new uint16[](1);
        list[0] = country;
    }

    function lot(address token, bytes32 investor, uint256 amount, uint64 unlocksAt) internal {
        uint256[] memory amounts = new uint256[](1);
        uint64[] memory times = new uint64[](1);
        (amounts[0], times[0]) = (amount, unlocksAt);
        registry.setLots(token, investor, amounts, times, nextId());
    }

    function expectRestricted(uint8 code, address account, uint256 limit, uint256 actual) internal {
        vm.expectRevert(abi.encodeWithSelector(TransferRestricted.selector, code, account, limit, actual));
    }

    function assertCheck(
        address token,
        address from,
        address to,
        uint256 amount,
        uint8 code,
        string memory what
    ) internal view {
        Restriction memory found = registry.check(token, address(0), from, to, amount);
        assertEq(found.code, code, what);
    }
}
