// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AssetToken} from "../AssetToken.sol";
import {IERC7943Fungible} from "../parts/IERC7943Fungible.sol";
import {Restriction, Restrictions} from "../parts/Restrictions.sol";
import {TokenTerms} from "../parts/TokenTerms.sol";
import {RegistryFixture} from "./RegistryFixture.sol";

/// @dev The registry with the real token and the real authority.
contract ComplianceRegistryTokenTest is RegistryFixture {
    AssetToken private token;
    address private tokenAt;

    function setUp() public {
        prepare();
        token = new AssetToken(
            TokenTerms({
                name: "A name that is longer than thirty-one bytes",
                symbol: "LONG",
                decimals: 2,
                authority: address(authority),
                registry: address(registry),
                reserve: address(0),
                assetId: bytes32("asset"),
                termsHash: bytes32("terms")
            })
        );
        tokenAt = address(token);
        identify(ALICE, GERMANY, 2, NOW + 1000);
        identify(BOB, FRANCE, 2, NOW + 1000);
        link(ALICE_1, ALICE);
        link(ALICE_2, ALICE);
        link(BOB_1, BOB);
        uint16[] memory list = new uint16[](2);
        (list[0], list[1]) = (GERMANY, FRANCE);
        setPolicy(tokenAt, 2, 1, 100, 50, 1_000_000, list);
        registry.setCountryHoldersMax(tokenAt, FRANCE, 10, nextId());
        token.mint(ALICE_1, 1000, nextId());
        token.mint(BOB_1, 1000, nextId());
        lot(tokenAt, ALICE, 500, NOW + 1000);
    }

    /// @dev Level, allow-list, holder limits of token and country, holding limit and one lot, with a new holder.
    function test_a_transfer_to_a_new_holder_passes_every_limit() public {
        identify(CAROL, FRANCE, 2, 0);
        link(CAROL_1, CAROL);
        vm.prank(ALICE_1);
        token.transfer(CAROL_1, 100);
        assertEq(registry.holders(tokenAt), 3, "holders");
    }

    function test_the_dearest_forced_transfer_fits_the_fixed_gas() public {
        lotsMax(ALICE);
        identify(CAROL, FRANCE, 2, 0);
        link(CAROL_1, CAROL);
        token.forcedTransferRef(ALICE_1, CAROL_1, 1000, "order", bytes32("doc"), nextId());
        assertEq(registry.holding(tokenAt, CAROL), 1000, "counted");
        assertEq(registry.holding(tokenAt, ALICE), 0, "counted");
    }

    function test_mint_transfer_and_redeem_are_judged() public {
        expectRestricted(Restrictions.RECEIVER_UNIDENTIFIED, STRANGER, 2, 0);
        token.mint(STRANGER, 1, bytes32("x"));
        vm.startPrank(ALICE_1);
        expectRestricted(Restrictions.RECEIVER_UNIDENTIFIED, STRANGER, 2, 0);
        token.transfer(STRANGER, 1);
        expectRestricted(Restrictions.LOCKED, ALICE_1, 500, 499);
        token.transfer(BOB_1, 501);
        expectRestricted(Restrictions.LOCKED, ALICE_1, 500, 499);
        token.redeem(501, bytes32("ref"));
        token.redeem(100, bytes32("ref"));
        token.transfer(BOB_1, 400);
        vm.stopPrank();
        assertEq(registry.holding(tokenAt, ALICE), 500, "alice");
        assertEq(registry.holding(tokenAt, BOB), 1400, "bob");
    }

    function test_a_blocked_spender_with_an_infinite_allowance_moves_nothing() public {
        vm.prank(ALICE_1);
        token.approve(CAROL_1, type(uint256).max);
        vm.prank(CAROL_1);
        token.transferFrom(ALICE_1, BOB_1, 1);
        link(CAROL_1, CAROL);
        registry.setBlocked(CAROL, true, 0, nextId());
        expectRestricted(Restrictions.SPENDER_BLOCKED, CAROL_1, 0, 0);
        vm.prank(CAROL_1);
        token.transferFrom(ALICE_1, BOB_1, 1);
        assertEq(token.explainTransfer(CAROL_1, ALICE_1, BOB_1, 1).code, Restrictions.SPENDER_BLOCKED, "explained");
    }

    function test_views_tell_what_the_transfer_does() public {
        assertTrue(token.canTransfer(ALICE_1, BOB_1, 500), "allowed");
        Restriction memory found = token.explainTransfer(address(0), ALICE_1, BOB_1, 501);
        assertEq(found.code, Restrictions.LOCKED, "code");
        assertEq(found.limit, 500, "limit");
        assertEq(found.actual, 499, "actual");
        assertEq(token.canReceive(STRANGER), false, "unidentified");
        vm.warp(NOW + 1000);
        assertEq(token.canSend(ALICE_1), false, "expired");
    }

    function test_a_forced_transfer_needs_an_eligible_receiver_and_breaks_locks() public {
        vm.expectRevert(abi.encodeWithSelector(IERC7943Fungible.ERC7943CannotReceive.selector, STRANGER));
        token.forcedTransferRef(ALICE_1, STRANGER, 1, "order", 0, bytes32("x"));
        token.forcedTransferRef(ALICE_1, BOB_1, 1000, "order", 0, nextId());
        assertEq(registry.holding(tokenAt, BOB), 2000, "bob");
        assertEq(registry.holders(tokenAt), 1, "holders");
        token.burn(BOB_1, 2000, nextId());
        assertEq(registry.holders(tokenAt), 0, "burned");
    }

    function test_a_wallet_is_recovered() public {
        token.forcedTransferRef(ALICE_1, ALICE_2, 1000, "lost key", 0, nextId());
        assertEq(registry.holding(tokenAt, ALICE), 1000, "same investor");
        registry.linkWallet(ALICE_1, 0, none(), nextId());
        registry.linkWallet(address(0xA3), ALICE, none(), nextId());
        vm.prank(ALICE_2);
        token.transfer(address(0xA3), 1000);
        assertEq(registry.tokensOfWallet(ALICE_2), 0, "left");
        assertEq(registry.tokensOfWallet(address(0xA3)), 1, "came");
    }

    function test_a_token_that_takes_its_registry_away_stops_no_link() public {
        token.setRegistry(address(0), nextId());
        vm.prank(ALICE_1);
        token.transfer(STRANGER, 1000);
        registry.linkWallet(ALICE_1, BOB, one(tokenAt), nextId());
        assertEq(registry.holding(tokenAt, ALICE), 1000, "as it was");
    }

    function lotsMax(bytes32 investor) private {
        uint256[] memory amounts = new uint256[](16);
        uint64[] memory times = new uint64[](16);
        for (uint256 i = 0; i < 16; ++i) (amounts[i], times[i]) = (1, NOW + 1000);
        registry.setLots(tokenAt, investor, amounts, times, nextId());
    }
}
