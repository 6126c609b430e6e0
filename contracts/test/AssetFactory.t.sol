// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {AssetFactory} from "../AssetFactory.sol";
import {Harness} from "./Harness.sol";

contract Deployed {
    error Refused(uint256 value);

    uint256 public immutable value;

    constructor(uint256 value_) {
        require(value_ != 13, Refused(value_));
        value = value_;
    }
}

contract AssetFactoryTest is Harness {
    bytes32 private constant SALT = keccak256("salt");
    bytes32 private constant KIND = "Deployed";
    address private constant STRANGER = address(0xD1);

    AssetFactory private factory;

    function setUp() public {
        factory = new AssetFactory(address(this));
    }

    function test_deploy_tells_the_kind_and_meets_the_prediction() public {
        bytes memory initCode = code(7);
        address expected = factory.predict(SALT, keccak256(initCode));
        assertEq(factory.deployed(expected), false, "not yet");
        vm.expectEmit(address(factory));
        emit AssetFactory.Deployed(expected, SALT, address(this), keccak256(initCode), KIND);
        address made = factory.deploy(SALT, initCode, KIND);
        assertEq(made, expected, "address");
        assertTrue(factory.deployed(made), "there");
        assertEq(Deployed(made).value(), 7, "constructor argument");
    }

    function test_the_kind_changes_no_address() public {
        bytes memory initCode = code(7);
        address made = factory.deploy(SALT, initCode, KIND);
        vm.expectRevert(abi.encodeWithSelector(AssetFactory.AlreadyDeployed.selector, made));
        factory.deploy(SALT, initCode, "Other");
    }

    function test_a_stranger_deploys_nothing() public {
        bytes memory initCode = code(7);
        bytes32 role = factory.OPERATOR_ROLE();
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, STRANGER, role)
        );
        vm.prank(STRANGER);
        factory.deploy(SALT, initCode, KIND);
    }

    function test_a_constructors_reason_comes_through() public {
        bytes memory initCode = code(13);
        vm.expectRevert(abi.encodeWithSelector(Deployed.Refused.selector, 13));
        factory.deploy(SALT, initCode, KIND);
    }

    function test_creation_code_that_leaves_nothing_is_refused() public {
        // PUSH0 PUSH0 RETURN
        bytes memory initCode = hex"5f5ff3";
        address empty = factory.predict(SALT, keccak256(initCode));
        vm.expectRevert(abi.encodeWithSelector(AssetFactory.NoCode.selector, empty));
        factory.deploy(SALT, initCode, KIND);
    }

    function test_a_factory_needs_an_administrator() public {
        vm.expectRevert(AssetFactory.AdminMissing.selector);
        new AssetFactory(address(0));
    }

    function code(uint256 value) private pure returns (bytes memory) {
        return abi.encodePacked(type(Deployed).creationCode, abi.encode(value));
    }
}
