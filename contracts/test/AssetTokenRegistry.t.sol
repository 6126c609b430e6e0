// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AssetToken} from "../AssetToken.sol";
import {Restriction, Restrictions, TransferRestricted} from "../parts/Restrictions.sol";
import {TokenTerms} from "../parts/TokenTerms.sol";
import {RegistryFixture} from "./RegistryFixture.sol";

/// @dev The token with the registry and the authority that it is deployed with.
contract AssetTokenRegistryTest is RegistryFixture {
    uint256 private constant ALL = type(uint256).max;
    /// @dev A transaction's own cost: its base and the bytes of a transfer.
    uint256 private constant TRANSACTION_GAS = 21_000 + 700;

    AssetToken private token;
    AssetToken private free;

    function setUp() public {
        prepare();
        token = new AssetToken(terms(address(registry)));
        free = new AssetToken(terms(address(0)));
        uint16[] memory allowed = new uint16[](2);
        (allowed[0], allowed[1]) = (GERMANY, FRANCE);
        setPolicy(address(token), 2, 1, 10, 5, 5000, allowed);
        identify(ALICE, GERMANY, 2, uint64(NOW + 1000));
        identify(BOB, FRANCE, 3, uint64(NOW + 1000));
        identify(CAROL, GERMANY, 2, 0);
        link(ALICE_1, ALICE);
        link(ALICE_2, ALICE);
        link(BOB_1, BOB);
        link(CAROL_1, CAROL);
        token.mint(ALICE_1, 3000, nextId());
        token.mint(BOB_1, 1000, nextId());
        free.mint(ALICE_1, 1000, nextId());
        free.mint(BOB_1, 1000, nextId());
        vm.prank(ALICE_1);
        token.approve(CAROL_1, ALL);
    }

    function terms(address registry_) private view returns (TokenTerms memory) {
        return TokenTerms("Notes", "N", 0, address(authority), registry_, address(0), 0, 0);
    }

    function test_a_transfer_without_registry_stays_cheap() public {
        vm.prank(ALICE_1);
        uint256 before = gasleft();
        free.transfer(BOB_1, 1);
        assertTrue(before - gasleft() + TRANSACTION_GAS < 55_000, "gas");
    }

    function test_a_transfer_with_every_rule_stays_affordable() public {
        vm.prank(ALICE_1);
        uint256 before = gasleft();
        token.transfer(BOB_1, 1);
        assertTrue(before - gasleft() + TRANSACTION_GAS < 90_000, "gas");
    }

    function test_a_transfer_with_lots_is_refused_beyond_them() public {
        lot(address(token), ALICE, 2500, uint64(NOW + 10));
        vm.prank(ALICE_1);
        expectRestricted(Restrictions.LOCKED, ALICE_1, 2500, 2499);
        token.transfer(BOB_1, 501);
        vm.prank(ALICE_1);
        expectRestricted(Restrictions.LOCKED, ALICE_1, 2500, 2499);
        token.redeem(501, 0);
        vm.prank(ALICE_1);
        token.transfer(ALICE_2, 3000);
        assertEq(token.balanceOf(ALICE_2), 3000, "between wallets of one investor");
    }

    function test_an_expired_identity_stops_a_transfer_and_no_enforcement() public {
        vm.warp(NOW + 1001);
        vm.prank(ALICE_1);
        expectRestricted(Restrictions.SENDER_EXPIRED, ALICE_1, NOW + 1000, NOW + 1001);
        token.transfer(CAROL_1, 1);
        assertTrue(!token.canSend(ALICE_1) && token.canSend(CAROL_1), "views");
        token.forcedTransfer(ALICE_1, CAROL_1, 3000);
        assertEq(registry.holding(address(token), ALICE), 0, "counted");
        assertEq(registry.holding(address(token), CAROL), 3000, "counted");
    }

    function test_an_unregistered_token_moves_nothing_publicly() public {
        AssetToken other = new AssetToken(terms(address(registry)));
        vm.expectRevert();
        other.mint(ALICE_1, 1, bytes32(uint256(999)));
        assertEq(
            uint256(other.detectTransferRestriction(ALICE_1, BOB_1, 1)),
            Restrictions.REGISTRY_FAILED,
            "the view agrees"
        );
    }

    function testFuzz_the_views_agree_with_the_transfer(uint256 seed, uint256 amount, uint256 frozen) public {
        amount = bound(amount, 0, 3000);
        token.setFrozenTokens(ALICE_1, seed & 1 == 0 ? bound(frozen, 0, 3100) : 0);
        if (seed & 6 == 6) token.setFrozenTokens(CAROL_1, ALL);
        if (seed & 56 == 56) registry.setBlocked(BOB, true, 0, nextId());
        if (seed & 448 == 448) registry.setBlocked(CAROL, true, 0, nextId());
        if (seed & 3584 == 3584) vm.warp(NOW + 1001);
        if (seed & 12288 == 12288) lot(address(token), ALICE, 2000, uint64(NOW + 10));
        address[5] memory receivers = [ALICE_1, ALICE_2, BOB_1, CAROL_1, STRANGER];
        address to = receivers[(seed >> 16) % 5];
        uint16[] memory allowed = countries1(GERMANY);
        if (seed & (3 << 30) == (3 << 30)) setPolicy(address(token), 2, 1, 2, 1, 1500, allowed);
        bool byHolder = token.canTransfer(ALICE_1, to, amount);
        if (byHolder) assertTrue(token.canSend(ALICE_1) && token.canReceive(to), "eligible");
        Restriction memory bySpender = token.explainTransfer(CAROL_1, ALICE_1, to, amount);
        uint256 state = vm.snapshotState();
        vm.prank(ALICE_1);
        (bool done, ) = address(token).call(abi.encodeCall(token.transfer, (to, amount)));
        assertEq(done, byHolder, "transfer");
        vm.revertToState(state);
        vm.prank(CAROL_1);
        bytes memory answer;
        (done, answer) = address(token).call(abi.encodeCall(token.transferFrom, (ALICE_1, to, amount)));
        assertEq(done, bySpender.code == 0, "transferFrom");
        if (bySpender.code >= 10)
            assertEq(
                keccak256(answer),
                keccak256(
                    abi.encodeWithSelector(
                        TransferRestricted.selector,
                        bySpender.code,
                        bySpender.account,
                        bySpender.limit,
                        bySpender.actual
                    )
                ),
                "the same refusal"
            );
    }
}
