// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {ComplianceRegistry} from "../ComplianceRegistry.sol";
import {Operations} from "../parts/Operations.sol";
import {Restriction, Restrictions, TransferRestricted} from "../parts/Restrictions.sol";
import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {RegistryFixture} from "./RegistryFixture.sol";
import {RegistryToken} from "./RegistryToken.sol";

contract ComplianceRegistryTest is RegistryFixture {
    RegistryToken private token;
    address private tokenAt;

    function setUp() public {
        prepare();
        token = newToken();
        tokenAt = address(token);
        identify(ALICE, GERMANY, 2, 0);
        identify(BOB, FRANCE, 3, 0);
        identify(CAROL, USA, 1, 0);
        link(ALICE_1, ALICE);
        link(ALICE_2, ALICE);
        link(BOB_1, BOB);
        link(CAROL_1, CAROL);
    }

    // --- permission and operation ids

    function test_a_stranger_writes_nothing() public {
        bytes memory refusal = abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, STRANGER);
        vm.startPrank(STRANGER);
        vm.expectRevert(refusal);
        registry.setIdentity(ALICE, 0, 0, 0, none(), bytes32("x"));
        vm.expectRevert(refusal);
        registry.batchSetIdentity(new ComplianceRegistry.Attested[](0), bytes32("x"));
        vm.expectRevert(refusal);
        registry.linkWallet(STRANGER, ALICE, none(), bytes32("x"));
        vm.expectRevert(refusal);
        registry.setBlocked(ALICE, true, 0, bytes32("x"));
        vm.expectRevert(refusal);
        registry.setPolicy(tokenAt, ComplianceRegistry.Policy(0, 0, 0, 0, 0), new uint16[](0), bytes32("x"));
        vm.expectRevert(refusal);
        registry.setCountryHoldersMax(tokenAt, GERMANY, 1, bytes32("x"));
        vm.expectRevert(refusal);
        registry.setLots(tokenAt, ALICE, new uint256[](0), new uint64[](0), bytes32("x"));
        vm.stopPrank();
    }

    function test_an_operation_id_is_burned_once_on_this_registry_alone() public {
        registry.setBlocked(ALICE, true, 0, bytes32("op"));
        assertTrue(registry.operationExecuted(bytes32("op")), "burned");
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, bytes32("op")));
        registry.setBlocked(ALICE, false, 0, bytes32("op"));
        vm.expectRevert(Operations.OperationIdMissing.selector);
        registry.setBlocked(ALICE, false, 0, 0);
        ComplianceRegistry other = new ComplianceRegistry(address(authority));
        other.setBlocked(ALICE, true, 0, bytes32("op"));
        assertTrue(other.identity(ALICE).blocked, "copied id works elsewhere");
    }

    function test_an_authority_without_code_is_refused() public {
        vm.expectRevert(ComplianceRegistry.AuthorityMissing.selector);
        new ComplianceRegistry(address(0xdead));
    }

    // --- identities

    function test_setIdentity_tells_and_keeps_everything() public {
        vm.expectEmit(address(registry));
        emit ComplianceRegistry.IdentitySet(ALICE, USA, 7, NOW + 5, address(this));
        identify(ALICE, USA, 7, NOW + 5);
        ComplianceRegistry.Identity memory known = registry.identity(ALICE);
        assertEq(known.country, USA, "country");
        assertEq(known.level, 7, "level");
        assertEq(known.expiresAt, NOW + 5, "expiresAt");
        assertEq(known.attester, address(this), "attester");
        assertEq(known.blocked, false, "blocked");
    }

    function test_setIdentity_leaves_the_block_alone() public {
        registry.setBlocked(ALICE, true, 0, nextId());
        identify(ALICE, USA, 7, 0);
        assertTrue(registry.identity(ALICE).blocked, "still blocked");
    }

    function test_setIdentity_refuses_addresses_and_numbers_no_country_has() public {
        bytes32 last = bytes32(uint256(type(uint160).max));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.InvestorInvalid.selector, last));
        registry.setIdentity(last, 0, 1, 0, none(), bytes32("x"));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.InvestorInvalid.selector, bytes32(0)));
        registry.setIdentity(0, 0, 1, 0, none(), bytes32("x"));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.CountryInvalid.selector, uint16(1024)));
        registry.setIdentity(ALICE, 1024, 1, 0, none(), bytes32("x"));
        registry.setIdentity(bytes32(uint256(type(uint160).max) + 1), 1023, 1, 0, none(), bytes32("x"));
    }

    function test_many_identities_are_told_and_kept_one_by_one() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 5);
        ComplianceRegistry.Attested[] memory given = new ComplianceRegistry.Attested[](2);
        given[0] = ComplianceRegistry.Attested(ALICE, USA, 7, NOW + 5, one(tokenAt));
        given[1] = ComplianceRegistry.Attested(BOB, FRANCE, 4, 0, none());
        vm.expectEmit(address(registry));
        emit ComplianceRegistry.IdentitySet(ALICE, USA, 7, NOW + 5, address(this));
        vm.expectEmit(address(registry));
        emit ComplianceRegistry.IdentitySet(BOB, FRANCE, 4, 0, address(this));
        registry.batchSetIdentity(given, bytes32("x"));
        assertEq(registry.identity(ALICE).level, 7, "alice");
        assertEq(registry.identity(BOB).level, 4, "bob");
        assertCountry(tokenAt, USA, 1);
        assertTrue(registry.operationExecuted(bytes32("x")), "burned");
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, bytes32("x")));
        registry.batchSetIdentity(given, bytes32("x"));
    }

    function test_many_identities_are_set_all_or_none() public {
        ComplianceRegistry.Attested[] memory given = new ComplianceRegistry.Attested[](2);
        given[0] = ComplianceRegistry.Attested(ALICE, USA, 7, 0, none());
        given[1] = ComplianceRegistry.Attested(BOB, 1024, 4, 0, none());
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.CountryInvalid.selector, uint16(1024)));
        registry.batchSetIdentity(given, bytes32("x"));
        assertTrue(registry.identity(ALICE).level != 7, "untouched");
        assertTrue(!registry.operationExecuted(bytes32("x")), "free");
    }

    function test_a_change_of_country_moves_the_counters_of_every_token_held() public {
        RegistryToken second = newToken();
        openPolicy(tokenAt);
        openPolicy(address(second));
        token.mint(ALICE_1, 5);
        second.mint(ALICE_2, 5);
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.TokensIncomplete.selector, 2, 1));
        registry.setIdentity(ALICE, USA, 2, 0, one(tokenAt), bytes32("x"));
        registry.setIdentity(ALICE, USA, 2, 0, two(tokenAt, address(second)), bytes32("x"));
        assertCountry(tokenAt, GERMANY, 0);
        assertCountry(tokenAt, USA, 1);
        assertCountry(address(second), GERMANY, 0);
        assertCountry(address(second), USA, 1);
        // The list is not read while the country stays.
        registry.setIdentity(ALICE, USA, 9, 0, none(), bytes32("y"));
        assertEq(registry.identity(ALICE).level, 9, "level");
    }

    function test_the_list_of_tokens_has_each_token_once_and_no_other() public {
        RegistryToken second = newToken();
        RegistryToken third = newToken();
        openPolicy(tokenAt);
        openPolicy(address(second));
        openPolicy(address(third));
        token.mint(ALICE_1, 5);
        second.mint(ALICE_1, 5);
        address[] memory twice = two(tokenAt, tokenAt);
        vm.expectRevert(ComplianceRegistry.TokensUnsorted.selector);
        registry.setIdentity(ALICE, USA, 2, 0, twice, bytes32("x"));
        address[] memory wrong = two(tokenAt, address(second));
        (wrong[0], wrong[1]) = (wrong[1], wrong[0]);
        vm.expectRevert(ComplianceRegistry.TokensUnsorted.selector);
        registry.setIdentity(ALICE, USA, 2, 0, wrong, bytes32("x"));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.TokenNotHeld.selector, address(third)));
        registry.setIdentity(ALICE, USA, 2, 0, two(tokenAt, address(third)), bytes32("x"));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.TokenNotHeld.selector, address(third)));
        registry.linkWallet(ALICE_1, BOB, two(tokenAt, address(third)), bytes32("x"));
        address[] memory unknown = two(tokenAt, address(this));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.TokenNotRegistered.selector, address(this)));
        registry.setIdentity(ALICE, USA, 2, 0, unknown, bytes32("x"));
    }

    function test_setBlocked_stops_sender_receiver_and_spender() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 5);
        token.mint(BOB_1, 5);
        vm.expectEmit(address(registry));
        emit ComplianceRegistry.InvestorBlocked(ALICE, true, bytes32("why"));
        registry.setBlocked(ALICE, true, bytes32("why"), nextId());
        expectRestricted(Restrictions.SENDER_BLOCKED, ALICE_1, 0, 0);
        token.transfer(ALICE_1, BOB_1, 1);
        expectRestricted(Restrictions.SENDER_BLOCKED, ALICE_1, 0, 0);
        token.redeem(ALICE_1, 1);
        expectRestricted(Restrictions.RECEIVER_BLOCKED, ALICE_2, 0, 0);
        token.transfer(BOB_1, ALICE_2, 1);
        expectRestricted(Restrictions.RECEIVER_BLOCKED, ALICE_2, 0, 0);
        token.mint(ALICE_2, 1);
        expectRestricted(Restrictions.SPENDER_BLOCKED, ALICE_2, 0, 0);
        token.transferBy(ALICE_2, BOB_1, CAROL_1, 1);
        assertEq(registry.canSend(tokenAt, ALICE_1), false, "canSend");
        assertEq(registry.canReceive(tokenAt, ALICE_2), false, "canReceive");
        registry.setBlocked(ALICE, false, 0, nextId());
        token.transferBy(ALICE_2, BOB_1, CAROL_1, 1);
        token.transfer(ALICE_1, BOB_1, 1);
    }

    function test_a_wallet_of_nobody_can_be_blocked_too() public {
        openPolicy(tokenAt);
        token.mint(STRANGER, 5);
        registry.setBlocked(walletId(STRANGER), true, 0, nextId());
        expectRestricted(Restrictions.SENDER_BLOCKED, STRANGER, 0, 0);
        token.transfer(STRANGER, BOB_1, 1);
        expectRestricted(Restrictions.SPENDER_BLOCKED, STRANGER, 0, 0);
        token.transferBy(STRANGER, BOB_1, CAROL_1, 0);
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.InvestorInvalid.selector, bytes32(0)));
        registry.setBlocked(0, true, 0, bytes32("x"));
    }

    function test_a_spender_who_is_the_holder_is_judged_as_holder() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 5);
        registry.setBlocked(ALICE, true, 0, nextId());
        expectRestricted(Restrictions.SENDER_BLOCKED, ALICE_1, 0, 0);
        token.transferBy(ALICE_1, ALICE_1, BOB_1, 1);
    }

    function test_no_block_is_left_behind_with_the_wallet() public {
        registry.setBlocked(ALICE, true, 0, nextId());
        bytes memory refusal = abi.encodeWithSelector(ComplianceRegistry.InvestorStillBlocked.selector, ALICE);
        vm.expectRevert(refusal);
        registry.linkWallet(ALICE_1, 0, none(), bytes32("x"));
        vm.expectRevert(refusal);
        registry.linkWallet(ALICE_1, BOB, none(), bytes32("x"));
        registry.setBlocked(walletId(STRANGER), true, 0, nextId());
        vm.expectRevert(
            abi.encodeWithSelector(ComplianceRegistry.InvestorStillBlocked.selector, walletId(STRANGER))
        );
        registry.linkWallet(STRANGER, BOB, none(), bytes32("x"));
        // Joining a blocked investor is possible.
        registry.linkWallet(BOB_1, ALICE, none(), bytes32("x"));
        assertEq(registry.canSend(tokenAt, BOB_1), false, "blocked");
    }

    // --- eligibility

    function test_level_expiry_and_identification() public {
        setPolicy(tokenAt, 2, 0, 0, 0, 0, new uint16[](0));
        token.mint(ALICE_1, 10);
        expectRestricted(Restrictions.RECEIVER_UNIDENTIFIED, STRANGER, 2, 0);
        token.transfer(ALICE_1, STRANGER, 1);
        expectRestricted(Restrictions.RECEIVER_LEVEL, CAROL_1, 2, 1);
        token.transfer(ALICE_1, CAROL_1, 1);
        token.transfer(ALICE_1, BOB_1, 1);
        identify(ALICE, GERMANY, 2, NOW + 10);
        token.transfer(ALICE_1, BOB_1, 1);
        vm.warp(NOW + 9);
        assertTrue(registry.canSend(tokenAt, ALICE_1), "one second left");
        vm.warp(NOW + 10);
        expectRestricted(Restrictions.SENDER_EXPIRED, ALICE_1, NOW + 10, NOW + 10);
        token.transfer(ALICE_1, BOB_1, 1);
        expectRestricted(Restrictions.SENDER_EXPIRED, ALICE_1, NOW + 10, NOW + 10);
        token.redeem(ALICE_1, 1);
        expectRestricted(Restrictions.RECEIVER_EXPIRED, ALICE_2, NOW + 10, NOW + 10);
        token.transfer(BOB_1, ALICE_2, 1);
        assertEq(registry.canReceive(tokenAt, ALICE_1), false, "expired");
        identify(ALICE, GERMANY, 1, 0);
        expectRestricted(Restrictions.SENDER_LEVEL, ALICE_1, 2, 1);
        token.transfer(ALICE_1, BOB_1, 1);
        identify(ALICE, GERMANY, 0, 0);
        expectRestricted(Restrictions.SENDER_UNIDENTIFIED, ALICE_1, 2, 0);
        token.transfer(ALICE_1, BOB_1, 1);
    }

    function test_without_a_level_nobody_need_be_identified() public {
        openPolicy(tokenAt);
        identify(ALICE, GERMANY, 1, NOW);
        token.mint(STRANGER, 3);
        token.transfer(STRANGER, ALICE_1, 3);
        token.transfer(ALICE_1, STRANGER, 3);
        assertTrue(registry.canSend(tokenAt, STRANGER) && registry.canReceive(tokenAt, STRANGER), "open");
    }

    function test_only_listed_countries() public {
        setPolicy(tokenAt, 0, 1, 0, 0, 0, countries1(GERMANY));
        token.mint(ALICE_1, 10);
        expectRestricted(Restrictions.RECEIVER_COUNTRY, BOB_1, 0, FRANCE);
        token.transfer(ALICE_1, BOB_1, 1);
        expectRestricted(Restrictions.RECEIVER_COUNTRY, STRANGER, 0, 0);
        token.transfer(ALICE_1, STRANGER, 1);
        setPolicy(tokenAt, 0, 1, 0, 0, 0, countries1(FRANCE));
        expectRestricted(Restrictions.SENDER_COUNTRY, ALICE_1, 0, GERMANY);
        token.transfer(ALICE_1, BOB_1, 1);
        assertEq(registry.countryListed(tokenAt, GERMANY), false, "the new list replaces the old one");
        assertEq(registry.countryListed(tokenAt, FRANCE), true, "listed");
    }

    function test_all_but_the_listed_countries() public {
        setPolicy(tokenAt, 0, 2, 0, 0, 0, countries1(USA));
        token.mint(ALICE_1, 10);
        token.transfer(ALICE_1, STRANGER, 1);
        expectRestricted(Restrictions.RECEIVER_COUNTRY, CAROL_1, 0, USA);
        token.transfer(ALICE_1, CAROL_1, 1);
        assertCheck(tokenAt, CAROL_1, ALICE_1, 0, Restrictions.SENDER_COUNTRY, "sender");
    }

    function test_every_country_has_its_own_bit(uint16 country, uint16 other) public {
        country = uint16(bound(country, 1, 1023));
        setPolicy(tokenAt, 0, 1, 0, 0, 0, countries1(country));
        assertEq(registry.countryListed(tokenAt, other), other == country, "bit");
    }

    // --- policies

    function test_setPolicy_tells_and_keeps_everything() public {
        uint16[] memory list = new uint16[](2);
        (list[0], list[1]) = (GERMANY, 1023);
        (bool registered, ComplianceRegistry.Policy memory rules) = registry.policy(tokenAt);
        assertEq(registered, false, "not yet");
        vm.expectEmit(address(registry));
        emit ComplianceRegistry.PolicySet(tokenAt, 1, 2, 3, 4, 5, list);
        setPolicy(tokenAt, 1, 2, 3, 4, 5, list);
        (registered, rules) = registry.policy(tokenAt);
        assertEq(registered, true, "registered");
        assertEq(keccak256(abi.encode(rules)), keccak256(abi.encode(uint256(1), 2, 3, 4, 5)), "rules");
        assertTrue(registry.countryListed(tokenAt, 1023) && registry.countryListed(tokenAt, GERMANY), "listed");
        assertEq(registry.countryListed(tokenAt, 1024), false, "none has that number");
    }

    function test_setPolicy_keeps_counters_and_lots() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 10);
        lot(tokenAt, ALICE, 10, NOW + 1);
        setPolicy(tokenAt, 1, 0, 5, 5, 50, new uint16[](0));
        assertEq(registry.holders(tokenAt), 1, "holders");
        expectRestricted(Restrictions.LOCKED, ALICE_1, 10, 9);
        token.transfer(ALICE_1, BOB_1, 1);
    }

    function test_setPolicy_refuses() public {
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.CountryRuleInvalid.selector, uint8(3)));
        registry.setPolicy(tokenAt, ComplianceRegistry.Policy(0, 3, 0, 0, 0), new uint16[](0), bytes32("x"));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.CountryInvalid.selector, uint16(0)));
        registry.setPolicy(tokenAt, ComplianceRegistry.Policy(0, 1, 0, 0, 0), countries1(0), bytes32("x"));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.CountryInvalid.selector, uint16(1024)));
        registry.setPolicy(tokenAt, ComplianceRegistry.Policy(0, 1, 0, 0, 0), countries1(1024), bytes32("x"));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.TokenMissing.selector, STRANGER));
        registry.setPolicy(STRANGER, ComplianceRegistry.Policy(0, 0, 0, 0, 0), new uint16[](0), bytes32("x"));
        RegistryToken issued = new RegistryToken(address(0));
        issued.mint(ALICE_1, 1);
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.AlreadyIssued.selector, address(issued)));
        registry.setPolicy(
            address(issued),
            ComplianceRegistry.Policy(0, 0, 0, 0, 0),
            new uint16[](0),
            bytes32("x")
        );
    }

    function test_an_unregistered_token_is_refused() public {
        bytes memory refusal = abi.encodeWithSelector(ComplianceRegistry.TokenNotRegistered.selector, tokenAt);
        vm.expectRevert(refusal);
        token.mint(ALICE_1, 1);
        vm.expectRevert(refusal);
        token.force(address(0), ALICE_1, 1);
        vm.expectRevert(refusal);
        registry.setLots(tokenAt, ALICE, new uint256[](0), new uint64[](0), bytes32("x"));
        vm.expectRevert(refusal);
        registry.setCountryHoldersMax(tokenAt, GERMANY, 1, bytes32("x"));
        assertCheck(tokenAt, address(0), ALICE_1, 1, Restrictions.REGISTRY_FAILED, "check");
        assertEq(registry.canSend(tokenAt, ALICE_1), false, "canSend");
        assertEq(registry.canReceive(tokenAt, ALICE_1), false, "canReceive");
    }

    // --- limits

    function test_holders_are_investors_and_not_wallets() public {
        setPolicy(tokenAt, 0, 0, 2, 0, 0, new uint16[](0));
        token.mint(ALICE_1, 10);
        token.mint(ALICE_2, 10);
        token.mint(BOB_1, 10);
        assertEq(registry.holders(tokenAt), 2, "holders");
        assertEq(registry.holding(tokenAt, ALICE), 20, "holding");
        expectRestricted(Restrictions.HOLDERS_MAX, CAROL_1, 2, 3);
        token.transfer(ALICE_1, CAROL_1, 1);
        expectRestricted(Restrictions.HOLDERS_MAX, CAROL_1, 2, 3);
        token.mint(CAROL_1, 1);
        expectRestricted(Restrictions.HOLDERS_MAX, STRANGER, 2, 3);
        token.mint(STRANGER, 1);
        // One who leaves with the same move makes room.
        token.transfer(BOB_1, CAROL_1, 10);
        assertEq(registry.holders(tokenAt), 2, "swapped");
        token.redeem(CAROL_1, 10);
        assertEq(registry.holders(tokenAt), 1, "left");
        token.transfer(ALICE_1, STRANGER, 1);
        assertEq(registry.holders(tokenAt), 2, "a wallet of nobody is an investor");
    }

    function test_a_lowered_limit_stops_only_new_holders() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 10);
        token.mint(BOB_1, 10);
        setPolicy(tokenAt, 0, 0, 1, 1, 5, new uint16[](0));
        expectRestricted(Restrictions.HOLDERS_MAX, CAROL_1, 1, 2);
        token.transfer(BOB_1, CAROL_1, 10);
        setPolicy(tokenAt, 0, 0, 1, 0, 0, new uint16[](0));
        token.transfer(BOB_1, ALICE_1, 10);
        assertEq(registry.holders(tokenAt), 1, "holders");
    }

    function test_holders_of_a_country() public {
        setPolicy(tokenAt, 0, 0, 0, 1, 0, new uint16[](0));
        bytes32 dave = keccak256("dave");
        identify(dave, GERMANY, 1, 0);
        link(STRANGER, dave);
        token.mint(ALICE_1, 10);
        token.mint(BOB_1, 10);
        expectRestricted(Restrictions.COUNTRY_HOLDERS_MAX, STRANGER, 1, 2);
        token.transfer(BOB_1, STRANGER, 10);
        token.transfer(ALICE_1, STRANGER, 10);
        assertCountry(tokenAt, GERMANY, 1);
        vm.expectEmit(address(registry));
        emit ComplianceRegistry.CountryHoldersMaxSet(tokenAt, GERMANY, 2);
        registry.setCountryHoldersMax(tokenAt, GERMANY, 2, nextId());
        (uint32 count, uint32 limit) = registry.countryHolders(tokenAt, GERMANY);
        assertEq(count, 1, "count");
        assertEq(limit, 2, "own limit");
        token.transfer(STRANGER, ALICE_1, 5);
        assertCountry(tokenAt, GERMANY, 2);
        registry.setCountryHoldersMax(tokenAt, GERMANY, 0, nextId());
        (, limit) = registry.countryHolders(tokenAt, GERMANY);
        assertEq(limit, 1, "general limit");
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.CountryInvalid.selector, uint16(1024)));
        registry.setCountryHoldersMax(tokenAt, 1024, 1, bytes32("x"));
    }

    function test_unknown_is_a_country_of_its_own() public {
        openPolicy(tokenAt);
        registry.setCountryHoldersMax(tokenAt, 0, 1, nextId());
        token.mint(STRANGER, 1);
        expectRestricted(Restrictions.COUNTRY_HOLDERS_MAX, address(0xD2), 1, 2);
        token.mint(address(0xD2), 1);
    }

    function test_holding_max_counts_all_wallets_of_an_investor() public {
        setPolicy(tokenAt, 0, 0, 0, 0, 10, new uint16[](0));
        token.mint(ALICE_1, 6);
        expectRestricted(Restrictions.HOLDING_MAX, ALICE_2, 10, 11);
        token.mint(ALICE_2, 5);
        token.mint(ALICE_2, 4);
        token.mint(BOB_1, 10);
        expectRestricted(Restrictions.HOLDING_MAX, ALICE_1, 10, 11);
        token.transfer(BOB_1, ALICE_1, 1);
        token.transfer(ALICE_1, ALICE_2, 6);
        assertCheck(tokenAt, BOB_1, ALICE_1, type(uint256).max, Restrictions.HOLDING_MAX, "no overflow");
        // Over the limit already: nothing more comes in, but it may go and nothing is nothing.
        setPolicy(tokenAt, 0, 0, 0, 0, 5, new uint16[](0));
        token.transfer(BOB_1, ALICE_2, 0);
        token.transfer(ALICE_1, ALICE_2, 0);
        token.transfer(ALICE_2, CAROL_1, 5);
    }

    function test_lots_bind_until_they_unlock() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 60);
        token.mint(ALICE_2, 40);
        uint256[] memory amounts = new uint256[](2);
        uint64[] memory times = new uint64[](2);
        (amounts[0], amounts[1]) = (30, 20);
        (times[0], times[1]) = (NOW + 10, NOW + 20);
        vm.expectEmit(address(registry));
        emit ComplianceRegistry.LotsSet(tokenAt, ALICE, amounts, times);
        registry.setLots(tokenAt, ALICE, amounts, times, nextId());
        assertEq(registry.locked(tokenAt, ALICE), 50, "locked");
        expectRestricted(Restrictions.LOCKED, ALICE_1, 50, 49);
        token.transfer(ALICE_1, BOB_1, 51);
        token.transfer(ALICE_1, BOB_1, 50);
        expectRestricted(Restrictions.LOCKED, ALICE_2, 50, 49);
        token.redeem(ALICE_2, 1);
        token.transfer(ALICE_2, ALICE_1, 40);
        token.transfer(ALICE_1, ALICE_1, 50);
        vm.warp(NOW + 10);
        assertEq(registry.locked(tokenAt, ALICE), 20, "one left");
        token.transfer(ALICE_1, BOB_1, 30);
        vm.warp(NOW + 20);
        token.redeem(ALICE_1, 20);
        (uint256[] memory stored, uint64[] memory storedTimes) = registry.lots(tokenAt, ALICE);
        assertEq(keccak256(abi.encode(stored, storedTimes)), keccak256(abi.encode(amounts, times)), "lots");
    }

    function test_lots_are_replaced_as_a_whole() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 10);
        lot(tokenAt, ALICE, 10, NOW + 10);
        lot(tokenAt, ALICE, 4, NOW + 10);
        assertEq(registry.locked(tokenAt, ALICE), 4, "replaced");
        token.transfer(ALICE_1, BOB_1, 6);
        registry.setLots(tokenAt, ALICE, new uint256[](0), new uint64[](0), nextId());
        assertEq(registry.locked(tokenAt, ALICE), 0, "none");
        token.transfer(ALICE_1, BOB_1, 4);
    }

    function test_lots_over_the_holding_keep_all_of_it() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 10);
        lot(tokenAt, ALICE, type(uint192).max, NOW + 10);
        expectRestricted(Restrictions.LOCKED, ALICE_1, type(uint192).max, 9);
        token.transfer(ALICE_1, BOB_1, 1);
        token.transfer(ALICE_1, BOB_1, 0);
        assertCheck(tokenAt, ALICE_1, BOB_1, type(uint256).max, Restrictions.LOCKED, "more than all");
    }

    function test_setLots_refuses() public {
        openPolicy(tokenAt);
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.LengthMismatch.selector, 1, 2));
        registry.setLots(tokenAt, ALICE, new uint256[](1), new uint64[](2), bytes32("x"));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.LotsTooMany.selector, 17));
        registry.setLots(tokenAt, ALICE, new uint256[](17), new uint64[](17), bytes32("x"));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.InvestorInvalid.selector, bytes32(0)));
        registry.setLots(tokenAt, 0, new uint256[](1), new uint64[](1), bytes32("x"));
        uint256[] memory amounts = new uint256[](1);
        amounts[0] = 1 << 192;
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.LotTooLarge.selector, amounts[0]));
        registry.setLots(tokenAt, ALICE, amounts, new uint64[](1), bytes32("x"));
        registry.setLots(tokenAt, ALICE, new uint256[](16), new uint64[](16), bytes32("x"));
    }

    function test_the_first_broken_rule_is_told() public {
        setPolicy(tokenAt, 2, 1, 1, 1, 5, countries1(GERMANY));
        token.mint(ALICE_1, 5);
        lot(tokenAt, ALICE, 5, NOW + 1);
        assertCheck(tokenAt, ALICE_1, BOB_1, 6, Restrictions.RECEIVER_COUNTRY, "country before numbers");
        identify(BOB, GERMANY, 2, 0);
        assertCheck(tokenAt, ALICE_1, BOB_1, 4, Restrictions.HOLDERS_MAX, "holders");
        setPolicy(tokenAt, 2, 1, 0, 1, 5, countries1(GERMANY));
        assertCheck(tokenAt, ALICE_1, BOB_1, 4, Restrictions.COUNTRY_HOLDERS_MAX, "country's holders");
        setPolicy(tokenAt, 2, 1, 0, 0, 3, countries1(GERMANY));
        assertCheck(tokenAt, ALICE_1, BOB_1, 4, Restrictions.HOLDING_MAX, "holding");
        setPolicy(tokenAt, 2, 1, 0, 0, 5, countries1(GERMANY));
        assertCheck(tokenAt, ALICE_1, BOB_1, 4, Restrictions.LOCKED, "lots");
        registry.setBlocked(CAROL, true, 0, nextId());
        Restriction memory found = registry.check(tokenAt, CAROL_1, ALICE_1, BOB_1, 4);
        assertEq(found.code, Restrictions.SPENDER_BLOCKED, "spender");
        assertEq(found.account, CAROL_1, "account");
        assertCheck(tokenAt, address(0), address(0), 4, Restrictions.ALLOWED, "nobody to nobody");
    }

    // --- counting

    function test_nothing_and_self_transfers_count_nothing() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 0);
        token.transfer(ALICE_1, BOB_1, 0);
        token.force(ALICE_1, BOB_1, 0);
        assertEq(registry.holders(tokenAt), 0, "holders");
        assertEq(registry.tokensOfWallet(ALICE_1), 0, "wallet");
        token.mint(ALICE_1, 7);
        token.transfer(ALICE_1, ALICE_1, 7);
        token.force(ALICE_1, ALICE_1, 7);
        assertEq(registry.holding(tokenAt, ALICE), 7, "holding");
        assertEq(registry.holders(tokenAt), 1, "holders");
        assertEq(registry.tokensOfWallet(ALICE_1), 1, "wallet");
        assertEq(registry.tokensOfInvestor(ALICE), 1, "investor");
    }

    function test_moves_among_one_investors_wallets_change_no_holding() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 7);
        token.transfer(ALICE_1, ALICE_2, 2);
        assertEq(registry.holding(tokenAt, ALICE), 7, "part");
        assertEq(registry.tokensOfWallet(ALICE_1), 1, "first");
        assertEq(registry.tokensOfWallet(ALICE_2), 1, "second");
        token.force(ALICE_1, ALICE_2, 5);
        assertEq(registry.holding(tokenAt, ALICE), 7, "all");
        assertEq(registry.holders(tokenAt), 1, "holders");
        assertEq(registry.tokensOfWallet(ALICE_1), 0, "left");
        assertEq(registry.tokensOfWallet(ALICE_2), 1, "came");
    }

    function test_a_forced_transfer_is_counted_and_never_judged() public {
        setPolicy(tokenAt, 1, 1, 1, 1, 5, countries1(GERMANY));
        token.mint(ALICE_1, 5);
        lot(tokenAt, ALICE, 5, NOW + 1);
        registry.setBlocked(ALICE, true, 0, nextId());
        token.force(ALICE_1, STRANGER, 2);
        token.force(ALICE_1, BOB_1, 3);
        assertEq(registry.holders(tokenAt), 2, "holders");
        assertEq(registry.holding(tokenAt, ALICE), 0, "alice");
        assertEq(registry.holding(tokenAt, walletId(STRANGER)), 2, "stranger");
        assertCountry(tokenAt, GERMANY, 0);
        assertCountry(tokenAt, FRANCE, 1);
        token.force(BOB_1, address(0), 3);
        assertEq(registry.holders(tokenAt), 1, "burned");
    }

    function test_a_move_that_was_never_told_locks_nobody_in() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 5);
        token.forceUntold(ALICE_1, BOB_1, 5);
        token.transfer(BOB_1, CAROL_1, 3);
        token.transfer(BOB_1, CAROL_1, 2);
        token.redeem(CAROL_1, 5);
        assertEq(registry.holding(tokenAt, CAROL), 0, "carol");
        assertEq(registry.holders(tokenAt), 1, "only the one never told of is left");
    }

    // --- wallets

    function test_linking_moves_what_the_wallet_holds() public {
        openPolicy(tokenAt);
        token.mint(STRANGER, 8);
        token.mint(ALICE_1, 2);
        assertEq(registry.holders(tokenAt), 2, "two");
        assertCountry(tokenAt, 0, 1);
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.TokensIncomplete.selector, 1, 0));
        registry.linkWallet(STRANGER, ALICE, none(), bytes32("x"));
        vm.expectEmit(address(registry));
        emit ComplianceRegistry.WalletLinked(STRANGER, ALICE);
        registry.linkWallet(STRANGER, ALICE, one(tokenAt), bytes32("x"));
        assertEq(registry.investorOf(STRANGER), ALICE, "linked");
        assertEq(registry.holding(tokenAt, ALICE), 10, "alice");
        assertEq(registry.holding(tokenAt, walletId(STRANGER)), 0, "nobody");
        assertEq(registry.holders(tokenAt), 1, "one");
        assertCountry(tokenAt, 0, 0);
        registry.linkWallet(STRANGER, BOB, one(tokenAt), bytes32("y"));
        assertEq(registry.holding(tokenAt, BOB), 8, "bob");
        assertCountry(tokenAt, FRANCE, 1);
        registry.linkWallet(STRANGER, 0, one(tokenAt), bytes32("z"));
        assertEq(registry.investorOf(STRANGER), 0, "unlinked");
        assertEq(registry.holding(tokenAt, walletId(STRANGER)), 8, "own again");
        assertEq(registry.tokensOfInvestor(BOB), 0, "bob has none");
        // Linking to the same again changes nothing and needs no list.
        registry.linkWallet(ALICE_1, ALICE, none(), bytes32("w"));
        assertEq(registry.holding(tokenAt, ALICE), 2, "same");
    }

    function test_no_limit_stops_a_link() public {
        setPolicy(tokenAt, 0, 0, 2, 1, 8, new uint16[](0));
        token.mint(STRANGER, 8);
        token.mint(ALICE_1, 8);
        registry.linkWallet(STRANGER, ALICE, one(tokenAt), nextId());
        assertEq(registry.holding(tokenAt, ALICE), 16, "over the limit, as a fact");
    }

    function test_units_in_locked_lots_stay_with_their_investor() public {
        openPolicy(tokenAt);
        token.mint(ALICE_1, 8);
        token.mint(ALICE_2, 8);
        lot(tokenAt, ALICE, 9, NOW + 1);
        expectRestricted(Restrictions.LOCKED, ALICE_1, 9, 8);
        registry.linkWallet(ALICE_1, BOB, one(tokenAt), bytes32("x"));
        lot(tokenAt, ALICE, 8, NOW + 1);
        registry.linkWallet(ALICE_1, BOB, one(tokenAt), bytes32("x"));
        assertEq(registry.holding(tokenAt, BOB), 8, "free units go");
    }

    function test_linkWallet_refuses() public {
        vm.expectRevert(ComplianceRegistry.WalletInvalid.selector);
        registry.linkWallet(address(0), ALICE, none(), bytes32("x"));
        vm.expectRevert(
            abi.encodeWithSelector(ComplianceRegistry.InvestorInvalid.selector, walletId(BOB_1))
        );
        registry.linkWallet(STRANGER, walletId(BOB_1), none(), bytes32("x"));
    }

    function test_a_token_that_left_stops_no_link() public {
        RegistryToken second = newToken();
        openPolicy(tokenAt);
        openPolicy(address(second));
        token.mint(ALICE_1, 8);
        second.mint(ALICE_1, 3);
        token.detach();
        token.transfer(ALICE_1, BOB_1, 8);
        registry.linkWallet(ALICE_1, BOB, two(tokenAt, address(second)), nextId());
        assertEq(registry.holding(tokenAt, ALICE), 8, "as it was when it left");
        assertEq(registry.holding(address(second), BOB), 3, "the other one moved");
        registry.setIdentity(ALICE, USA, 1, 0, one(tokenAt), nextId());
        assertCountry(tokenAt, USA, 1);
    }

    function test_a_token_that_left_stands_for_no_other_in_a_link() public {
        RegistryToken left = newToken();
        setPolicy(tokenAt, 0, 0, 0, 0, 100, new uint16[](0));
        openPolicy(address(left));
        left.detach();
        token.mint(ALICE_1, 100);
        lot(tokenAt, ALICE, 100, NOW + 1000);
        vm.expectRevert(ComplianceRegistry.TokensMismatched.selector);
        registry.linkWallet(ALICE_1, BOB, one(address(left)), bytes32("x"));
        expectRestricted(43, ALICE_1, 100, 0);
        registry.linkWallet(ALICE_1, BOB, one(tokenAt), bytes32("x"));
        vm.expectRevert(abi.encodeWithSelector(ComplianceRegistry.TokenNotHeld.selector, address(left)));
        registry.setIdentity(ALICE, USA, 1, 0, one(address(left)), bytes32("x"));
        token.mint(STRANGER, 100);
        vm.expectRevert(ComplianceRegistry.TokensMismatched.selector);
        registry.linkWallet(STRANGER, BOB, one(address(left)), bytes32("x"));
        registry.linkWallet(STRANGER, BOB, one(tokenAt), bytes32("x"));
        assertEq(registry.holding(tokenAt, BOB), 100, "counted");
    }

    function test_a_token_that_left_stands_for_no_other_among_several() public {
        RegistryToken second = newToken();
        RegistryToken left = newToken();
        openPolicy(tokenAt);
        openPolicy(address(second));
        openPolicy(address(left));
        token.mint(ALICE_1, 1);
        second.mint(ALICE_1, 2);
        left.mint(ALICE_1, 3);
        left.redeem(ALICE_1, 3);
        left.detach();
        vm.expectRevert(ComplianceRegistry.TokensMismatched.selector);
        registry.linkWallet(ALICE_1, BOB, two(tokenAt, address(left)), bytes32("x"));
        vm.expectRevert(ComplianceRegistry.TokensMismatched.selector);
        registry.linkWallet(ALICE_1, BOB, two(address(second), address(left)), bytes32("x"));
        registry.linkWallet(ALICE_1, BOB, two(tokenAt, address(second)), bytes32("x"));
        second.transfer(ALICE_1, STRANGER, 2);
        assertEq(registry.tokensOfWallet(ALICE_1), 1, "one left");
        registry.linkWallet(ALICE_1, 0, one(tokenAt), bytes32("y"));
        token.redeem(ALICE_1, 1);
        registry.linkWallet(ALICE_1, BOB, none(), bytes32("z"));
    }

    function test_a_wallet_without_a_last_token_begins_anew() public {
        RegistryToken second = newToken();
        openPolicy(tokenAt);
        openPolicy(address(second));
        second.forceUntold(address(0), ALICE_1, 3);
        token.mint(ALICE_1, 1);
        second.redeem(ALICE_1, 3);
        token.redeem(ALICE_1, 1);
        assertEq(registry.tokensOfWallet(ALICE_1), 0, "none");
        token.mint(ALICE_1, 5);
        registry.linkWallet(ALICE_1, BOB, one(tokenAt), bytes32("x"));
        assertEq(registry.holding(tokenAt, BOB), 5, "moved");
    }

    // --- each token for itself

    function test_tokens_are_counted_apart() public {
        RegistryToken second = newToken();
        setPolicy(tokenAt, 0, 0, 1, 0, 0, new uint16[](0));
        setPolicy(address(second), 0, 0, 1, 0, 0, new uint16[](0));
        token.mint(ALICE_1, 1);
        second.mint(BOB_1, 1);
        assertEq(registry.tokensOfWallet(ALICE_1), 1, "wallet");
        assertEq(registry.holding(address(second), ALICE), 0, "apart");
    }

    function assertCountry(address token_, uint16 country, uint256 expected) private view {
        (uint32 count, ) = registry.countryHolders(token_, country);
        assertEq(count, expected, "country's holders");
    }
}
