// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {IssuerAuthority} from "../IssuerAuthority.sol";
import {Operations} from "../parts/Operations.sol";
import {Harness, Vm} from "./Harness.sol";

/// @dev Stands for a token: two restricted functions with the signatures of the real ones, and one of its own.
contract Target is AccessManaged {
    uint256 public forced;
    uint256 public minted;
    uint256 public own;
    address public actor;

    constructor(address authority_) AccessManaged(authority_) {}

    function forcedTransfer(address, address, uint256 amount) external restricted returns (bool) {
        (forced, actor) = (forced + amount, msg.sender);
        return true;
    }

    function mint(address, uint256 amount, bytes32) external restricted {
        minted += amount;
    }

    function unheardOf() external restricted {
        ++own;
    }
}

contract IssuerAuthorityTest is Harness {
    uint32 private constant DELAY = 2 days;
    address private constant ADMIN = address(0xA);
    address private constant ENFORCER = address(0xE);
    address private constant GUARDIAN = address(0x6);
    address private constant STRANGER = address(0xD1);
    address private constant OTHER = address(0xD2);

    IssuerAuthority private authority;
    Target private target;

    function setUp() public {
        vm.warp(1_800_000_000);
        authority = new IssuerAuthority(ADMIN, DELAY, GUARDIAN);
        target = new Target(address(authority));
        vm.prank(ADMIN);
        authority.grantRole(4, ENFORCER, DELAY);
    }

    // --- the constructor

    function test_the_admin_has_every_role_and_delays_enforcement_only() public view {
        for (uint64 role = 0; role <= 7; ++role) {
            (bool member, uint32 delay) = authority.hasRole(role, ADMIN);
            assertTrue(member, "member");
            assertEq(delay, role == 4 ? DELAY : 0, "delay");
        }
        (bool guards, uint32 guardDelay) = authority.hasRole(8, GUARDIAN);
        assertTrue(guards && guardDelay == 0, "guardian");
        (bool adminGuards, ) = authority.hasRole(8, ADMIN);
        assertEq(adminGuards, false, "the administrator is not the guardian");
        assertEq(authority.getRoleGuardian(4), 8, "guardian of the enforcers");
    }

    function test_the_constructor_tells_labels_and_defaults() public {
        vm.recordLogs();
        new IssuerAuthority(ADMIN, 0, address(0));
        (uint256 labels, uint256 defaults) = countLogs();
        assertEq(labels, 8, "labels");
        assertEq(defaults, 31, "defaults");
    }

    function test_roles_have_the_numbers_that_readers_of_the_chain_expect() public view {
        assertEq(authority.ADMIN_ROLE(), 0, "admin");
        assertEq(authority.ISSUER_ROLE(), 1, "issuer");
        assertEq(authority.MINTER_ROLE(), 2, "minter");
        assertEq(authority.COMPLIANCE_ROLE(), 3, "compliance");
        assertEq(authority.ENFORCER_ROLE(), 4, "enforcer");
        assertEq(authority.PAUSER_ROLE(), 5, "pauser");
        assertEq(authority.ATTESTER_ROLE(), 6, "attester");
        assertEq(authority.ANCHOR_ROLE(), 7, "anchor");
        assertEq(authority.GUARDIAN_ROLE(), 8, "guardian");
    }

    function test_an_authority_needs_an_administrator() public {
        vm.expectRevert(
            abi.encodeWithSelector(IAccessManager.AccessManagerInvalidInitialAdmin.selector, address(0))
        );
        new IssuerAuthority(address(0), 0, address(0));
    }

    function test_without_a_guardian_nobody_has_the_role() public {
        IssuerAuthority unguarded = new IssuerAuthority(ADMIN, 0, address(0));
        (bool member, ) = unguarded.hasRole(8, address(0));
        assertEq(member, false, "nobody");
    }

    // --- roles of functions

    function test_a_function_has_its_role_in_every_contract() public {
        assertEq(authority.getTargetFunctionRole(address(target), Target.mint.selector), 2, "mint");
        assertEq(authority.getTargetFunctionRole(STRANGER, Target.mint.selector), 2, "anywhere");
        assertEq(authority.getTargetFunctionRole(address(target), Target.unheardOf.selector), 0, "unknown");
        vm.prank(ADMIN);
        target.mint(ADMIN, 1, 0);
        assertEq(target.minted(), 1, "minted");
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, STRANGER));
        vm.prank(STRANGER);
        target.mint(ADMIN, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, ENFORCER));
        vm.prank(ENFORCER);
        target.unheardOf();
    }

    function test_a_targets_own_setting_wins_even_if_it_is_the_administrator() public {
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = Target.mint.selector;
        vm.startPrank(ADMIN);
        authority.grantRole(2, OTHER, 0);
        authority.setTargetFunctionRole(address(target), selectors, 0);
        vm.stopPrank();
        assertEq(authority.getTargetFunctionRole(address(target), selectors[0]), 0, "administrator's");
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, OTHER));
        vm.prank(OTHER);
        target.mint(OTHER, 1, 0);
        assertEq(authority.getTargetFunctionRole(STRANGER, selectors[0]), 2, "others keep the default");
        vm.prank(ADMIN);
        authority.setTargetFunctionRole(address(target), selectors, 4);
        assertEq(authority.getTargetFunctionRole(address(target), selectors[0]), 4, "enforcer's");
    }

    function test_only_the_administrator_changes_the_role_of_a_function() public {
        bytes4[] memory selectors = new bytes4[](1);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessManager.AccessManagerUnauthorizedAccount.selector, ENFORCER, uint64(0))
        );
        vm.prank(ENFORCER);
        authority.setTargetFunctionRole(address(target), selectors, 4);
    }

    // --- delayed enforcement

    function test_a_delayed_enforcer_schedules_waits_and_calls() public {
        bytes memory data = abi.encodeCall(Target.forcedTransfer, (STRANGER, OTHER, 5));
        bytes32 operation = authority.hashOperation(ENFORCER, address(target), data);
        vm.startPrank(ENFORCER);
        vm.expectRevert(abi.encodeWithSelector(IAccessManager.AccessManagerNotScheduled.selector, operation));
        target.forcedTransfer(STRANGER, OTHER, 5);
        authority.schedule(address(target), data, 0);
        vm.warp(block.timestamp + DELAY - 1);
        vm.expectRevert(abi.encodeWithSelector(IAccessManager.AccessManagerNotReady.selector, operation));
        target.forcedTransfer(STRANGER, OTHER, 5);
        vm.warp(block.timestamp + 1);
        target.forcedTransfer(STRANGER, OTHER, 5);
        assertEq(target.forced(), 5, "forced");
        assertEq(target.actor(), ENFORCER, "actor");
        vm.expectRevert(abi.encodeWithSelector(IAccessManager.AccessManagerNotScheduled.selector, operation));
        target.forcedTransfer(STRANGER, OTHER, 5);
        vm.stopPrank();
    }

    function test_what_was_scheduled_expires() public {
        bytes memory data = abi.encodeCall(Target.forcedTransfer, (STRANGER, OTHER, 5));
        bytes32 operation = authority.hashOperation(ENFORCER, address(target), data);
        vm.startPrank(ENFORCER);
        authority.schedule(address(target), data, 0);
        vm.warp(block.timestamp + DELAY + authority.expiration());
        vm.expectRevert(abi.encodeWithSelector(IAccessManager.AccessManagerExpired.selector, operation));
        target.forcedTransfer(STRANGER, OTHER, 5);
        vm.stopPrank();
    }

    function test_the_guardian_cancels_and_a_stranger_does_not() public {
        bytes memory data = abi.encodeCall(Target.forcedTransfer, (STRANGER, OTHER, 5));
        bytes32 operation = authority.hashOperation(ENFORCER, address(target), data);
        vm.prank(ENFORCER);
        authority.schedule(address(target), data, 0);
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessManager.AccessManagerUnauthorizedCancel.selector,
                STRANGER,
                ENFORCER,
                address(target),
                Target.forcedTransfer.selector
            )
        );
        vm.prank(STRANGER);
        authority.cancel(ENFORCER, address(target), data);
        vm.prank(GUARDIAN);
        authority.cancel(ENFORCER, address(target), data);
        vm.warp(block.timestamp + DELAY);
        vm.expectRevert(abi.encodeWithSelector(IAccessManager.AccessManagerNotScheduled.selector, operation));
        vm.prank(ENFORCER);
        target.forcedTransfer(STRANGER, OTHER, 5);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, GUARDIAN));
        vm.prank(GUARDIAN);
        target.forcedTransfer(STRANGER, OTHER, 5);
    }

    function test_an_enforcer_without_delay_calls_at_once() public {
        vm.prank(ADMIN);
        authority.grantRole(4, OTHER, 0);
        vm.prank(OTHER);
        target.forcedTransfer(STRANGER, OTHER, 5);
        assertEq(target.forced(), 5, "forced");
    }

    function test_a_closed_target_is_closed() public {
        vm.prank(ADMIN);
        authority.setTargetClosed(address(target), true);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, ADMIN));
        vm.prank(ADMIN);
        target.mint(ADMIN, 1, 0);
    }

    // --- perform

    function test_perform_burns_its_id_and_keeps_the_sender() public {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(IAccessManager.grantRole, (2, OTHER, 0));
        calls[1] = abi.encodeCall(IAccessManager.revokeRole, (4, ENFORCER));
        vm.expectEmit(address(authority));
        emit Operations.Operation(bytes32("op"), IssuerAuthority.perform.selector, ADMIN);
        vm.prank(ADMIN);
        authority.perform(bytes32("op"), calls);
        (bool minter, ) = authority.hasRole(2, OTHER);
        (bool enforcer, ) = authority.hasRole(4, ENFORCER);
        assertTrue(minter && !enforcer, "both done");
        assertTrue(authority.operationExecuted(bytes32("op")), "burned");
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, bytes32("op")));
        vm.prank(ADMIN);
        authority.perform(bytes32("op"), calls);
        vm.expectRevert(Operations.OperationIdMissing.selector);
        vm.prank(ADMIN);
        authority.perform(0, calls);
    }

    function test_perform_burns_its_id_as_the_whole_call() public {
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(IAccessManager.revokeRole, (4, ENFORCER));
        bytes32 callHash = keccak256(abi.encodeCall(IssuerAuthority.perform, (bytes32("op"), calls)));
        bytes[] memory others = new bytes[](1);
        uint256 before = vm.snapshotState();
        vm.prank(ADMIN);
        authority.perform(bytes32("op"), calls);
        assertTrue(authority.operationExecutedAs(bytes32("op"), callHash), "done");
        vm.revertToState(before);
        others[0] = abi.encodeCall(IAccessManager.renounceRole, (5, ENFORCER));
        vm.prank(ENFORCER);
        authority.perform(bytes32("op"), others);
        assertTrue(authority.operationExecuted(bytes32("op")), "burned");
        assertTrue(!authority.operationExecutedAs(bytes32("op"), callHash), "but not done");
    }

    function test_perform_burns_no_id_for_nothing() public {
        vm.expectRevert(IssuerAuthority.CallsMissing.selector);
        vm.prank(ENFORCER);
        authority.perform(bytes32("op"), new bytes[](0));
        assertTrue(!authority.operationExecuted(bytes32("op")), "free");
    }

    function test_perform_is_all_or_nothing() public {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(IAccessManager.grantRole, (2, OTHER, 0));
        calls[1] = abi.encodeCall(IAccessManager.revokeRole, (0, ADMIN));
        vm.expectRevert(IssuerAuthority.LastAdmin.selector);
        vm.prank(ADMIN);
        authority.perform(bytes32("op"), calls);
        assertEq(authority.operationExecuted(bytes32("op")), false, "not burned");
    }

    function test_perform_gives_nobody_a_right() public {
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(IAccessManager.grantRole, (2, STRANGER, 0));
        vm.expectRevert(
            abi.encodeWithSelector(IAccessManager.AccessManagerUnauthorizedAccount.selector, ENFORCER, uint64(0))
        );
        vm.prank(ENFORCER);
        authority.perform(bytes32("op"), calls);
        vm.expectRevert(abi.encodeWithSelector(IssuerAuthority.NotAMember.selector, STRANGER));
        vm.prank(STRANGER);
        authority.perform(bytes32("op"), calls);
    }

    function test_a_stranger_cannot_use_up_an_id() public {
        vm.expectRevert(abi.encodeWithSelector(IssuerAuthority.NotAMember.selector, STRANGER));
        vm.prank(STRANGER);
        authority.perform(bytes32("op"), new bytes[](0));
    }

    function test_perform_through_execute_is_nobodys() public {
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(IAccessManager.grantRole, (0, STRANGER, 0));
        bytes memory data = abi.encodeCall(IssuerAuthority.perform, (bytes32("op"), calls));
        vm.expectRevert(abi.encodeWithSelector(IssuerAuthority.NotAMember.selector, address(authority)));
        vm.prank(ADMIN);
        authority.execute(address(authority), data);
    }

    function test_schedules_and_cancellations_come_through_perform() public {
        bytes memory data = abi.encodeCall(Target.forcedTransfer, (STRANGER, OTHER, 5));
        bytes32 operation = authority.hashOperation(ENFORCER, address(target), data);
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(IAccessManager.schedule, (address(target), data, 0));
        vm.prank(ENFORCER);
        authority.perform(bytes32("schedule"), calls);
        assertEq(authority.getSchedule(operation), block.timestamp + DELAY, "scheduled");
        calls[0] = abi.encodeCall(IAccessManager.cancel, (ENFORCER, address(target), data));
        vm.prank(GUARDIAN);
        authority.perform(bytes32("cancel"), calls);
        assertEq(authority.getSchedule(operation), 0, "cancelled");
    }

    function test_a_delayed_administrator_schedules_what_perform_then_does() public {
        vm.prank(ADMIN);
        authority.grantRole(0, OTHER, 1 days);
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(IAccessManager.grantRole, (2, STRANGER, 0));
        vm.startPrank(OTHER);
        vm.expectPartialRevert(IAccessManager.AccessManagerNotScheduled.selector);
        authority.perform(bytes32("op"), calls);
        authority.schedule(address(authority), calls[0], 0);
        vm.warp(block.timestamp + 1 days);
        authority.perform(bytes32("op"), calls);
        vm.stopPrank();
        (bool member, ) = authority.hasRole(2, STRANGER);
        assertTrue(member, "granted");
    }

    // --- the last administrator

    function test_the_last_administrator_stays() public {
        vm.startPrank(ADMIN);
        vm.expectRevert(IssuerAuthority.LastAdmin.selector);
        authority.renounceRole(0, ADMIN);
        vm.expectRevert(IssuerAuthority.LastAdmin.selector);
        authority.revokeRole(0, ADMIN);
        // Granting again makes no second one, and revoking somebody else none less.
        authority.grantRole(0, ADMIN, 0);
        authority.revokeRole(0, STRANGER);
        vm.expectRevert(IssuerAuthority.LastAdmin.selector);
        authority.renounceRole(0, ADMIN);
        authority.grantRole(0, OTHER, 0);
        authority.renounceRole(0, ADMIN);
        vm.stopPrank();
        vm.expectRevert(IssuerAuthority.LastAdmin.selector);
        vm.prank(OTHER);
        authority.renounceRole(0, OTHER);
    }

    function test_an_administrator_is_one_at_once() public {
        vm.startPrank(ADMIN);
        bytes memory locked = abi.encodeWithSelector(IAccessManager.AccessManagerLockedRole.selector, uint64(0));
        vm.expectRevert(locked);
        authority.setGrantDelay(0, 365 days);
        vm.expectRevert(locked);
        authority.setGrantDelay(0, 0);
        authority.setGrantDelay(2, 1 days);
        vm.warp(block.timestamp + 6 days);
        authority.grantRole(2, OTHER, 0);
        authority.grantRole(0, OTHER, 0);
        authority.renounceRole(0, ADMIN);
        vm.stopPrank();
        (bool minter, ) = authority.hasRole(2, OTHER);
        (bool admin, ) = authority.hasRole(0, OTHER);
        assertTrue(!minter && admin, "other roles may wait");
    }

    function test_other_roles_may_end() public {
        vm.startPrank(ADMIN);
        for (uint64 role = 1; role <= 7; ++role) authority.renounceRole(role, ADMIN);
        vm.stopPrank();
        (bool member, ) = authority.hasRole(3, ADMIN);
        assertEq(member, false, "renounced");
    }

    function countLogs() private returns (uint256 labels, uint256 defaults) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] == IAccessManager.RoleLabel.selector) ++labels;
            if (logs[i].topics[0] == IssuerAuthority.DefaultFunctionRole.selector) ++defaults;
        }
    }
}
