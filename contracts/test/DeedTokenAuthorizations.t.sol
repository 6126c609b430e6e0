// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {DeedToken} from "../DeedToken.sol";
import {DeedAuthorizations} from "../parts/DeedAuthorizations.sol";
import {IERC7943NonFungible} from "../parts/IERC7943NonFungible.sol";
import {Restrictions} from "../parts/Restrictions.sol";
import {DeedTokenFixture, Receiver, RegistryMock} from "./DeedTokenMocks.sol";

contract DeedTokenAuthorizationsTest is DeedTokenFixture {
    bytes32 private constant NONCE = bytes32("nonce");
    bytes private constant WRONG = abi.encodePacked(DeedAuthorizations.ERC3009InvalidSignature.selector);

    function test_anybody_brings_a_signed_transfer() public {
        mint(token, alice, 1);
        // Who brings it is no spender, so even a blocked account may.
        registry.block_(stranger, true);
        assertTrue(!token.authorizationState(alice, NONCE), "free");
        bytes memory call = signTransfer(ALICE_KEY, address(token), bob, 1, NONCE);
        vm.prank(stranger);
        vm.expectEmit(address(token));
        emit DeedAuthorizations.AuthorizationUsed(alice, NONCE);
        vm.expectEmit(address(token));
        emit IERC721.Transfer(alice, bob, 1);
        accepted(address(token), call);
        assertEq(token.ownerOf(1), bob, "moved");
        assertTrue(token.authorizationState(alice, NONCE), "burned");
        assertTrue(!token.authorizationState(bob, NONCE), "of the signer alone");
        assertEq(registry.judged(), 2, "judged once");
        assertEq(registry.last().spender, address(0), "the holder moved it");
    }

    function test_a_receiver_is_not_called() public {
        Receiver receiver = new Receiver();
        mint(token, alice, 1);
        accepted(address(token), signTransfer(ALICE_KEY, address(token), address(receiver), 1, NONCE));
        assertEq(receiver.called(), 0, "not called");
    }

    function test_an_order_is_executed_once() public {
        mint(token, alice, 1);
        bytes memory call = signTransfer(ALICE_KEY, address(token), bob, 1, NONCE);
        accepted(address(token), call);
        vm.prank(bob);
        token.transferFrom(bob, alice, 1);
        bytes memory used = abi.encodeWithSelector(
            DeedAuthorizations.ERC3009UsedAuthorization.selector,
            alice,
            NONCE
        );
        refused(address(token), call, used);
        // One nonce serves one order, of whatever kind.
        refused(address(token), signApprove(ALICE_KEY, address(token), bob, 1, 0, type(uint256).max, NONCE), used);
        refused(address(token), signCancel(ALICE_KEY, address(token), NONCE), used);
        accepted(address(token), signTransfer(ALICE_KEY, address(token), bob, 1, bytes32("another")));
    }

    function test_an_order_copied_to_another_contract_fails_there() public {
        DeedToken other = make(address(registry), false);
        mint(token, alice, 1);
        mint(other, alice, 1);
        refused(address(other), signTransfer(ALICE_KEY, address(token), bob, 1, NONCE), WRONG);
        refused(address(other), signCancel(ALICE_KEY, address(token), NONCE), WRONG);
        refused(
            address(other),
            signApprove(ALICE_KEY, address(token), bob, 1, 0, type(uint256).max, NONCE),
            WRONG
        );
        assertEq(other.ownerOf(1), alice, "unmoved");
        assertTrue(!other.authorizationState(alice, NONCE), "unburned");
    }

    /// @dev Any bit of any field altered, and the signature is somebody else's.
    function testFuzz_an_altered_order_is_refused(uint256 bit, bool approving) public {
        mint(token, alice, 1);
        mint(token, bob, 2);
        bytes memory call = approving
            ? signApprove(ALICE_KEY, address(token), bob, 1, 0, type(uint64).max, NONCE)
            : signTransfer(ALICE_KEY, address(token), bob, 1, 0, type(uint64).max, NONCE);
        bit = bound(bit, 0, 6 * 256 - 1);
        // An address with bits above its 160 is refused by the decoder, before anything else.
        call[4 + bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        (bool done, bytes memory why) = address(token).call(call);
        assertTrue(!done, "refused");
        assertTrue(why.length == 0 || bytes4(why) == bytes4(WRONG), "for its signature");
        assertEq(token.ownerOf(1), alice, "unmoved");
        assertEq(token.getApproved(1), address(0), "unapproved");
    }

    function test_signatures() public {
        mint(token, alice, 1);
        bytes memory call = signTransfer(BOB_KEY, address(token), bob, 1, NONCE);
        // Bob's signature under Alice's name.
        call = _underTheNameOf(alice, call);
        refused(address(token), call, WRONG);
        // The other half of the curve: the same order, were it taken, would have a second form.
        call = signTransfer(ALICE_KEY, address(token), bob, 1, NONCE);
        (uint8 v, bytes32 r, bytes32 s) = _signature(call);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes32 flipped = bytes32(order - uint256(s));
        vm.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureS.selector, flipped));
        token.transferWithAuthorization(alice, bob, 1, 0, type(uint256).max, NONCE, v == 27 ? 28 : 27, r, flipped);
        // A signature of nobody recovers the zero address, and must not pass for its order.
        vm.expectRevert(ECDSA.ECDSAInvalidSignature.selector);
        token.transferWithAuthorization(address(0), bob, 1, 0, type(uint256).max, NONCE, 0, r, s);
        vm.expectRevert(ECDSA.ECDSAInvalidSignature.selector);
        token.cancelAuthorization(address(0), NONCE, 27, 0, 0);
    }

    function test_validity_is_in_seconds_and_both_bounds_are_outside() public {
        mint(token, alice, 1);
        vm.warp(1000);
        vm.roll(5_000_000);
        _refusedAt(1000, 2000);
        _refusedAt(500, 1000);
        _refusedAt(2000, 3000);
        _refusedAt(1001, 999);
        // OpenZeppelin's ERC-3009 reads this bit in both bounds as a change to block numbers; here it is a late second.
        _refusedAt(1 << 47, type(uint256).max);
        _refusedAt((1 << 47) | 1, (1 << 47) | 9_000_000);
        accepted(address(token), signTransfer(ALICE_KEY, address(token), bob, 1, 999, 1001, NONCE));
    }

    function _refusedAt(uint256 validAfter, uint256 validBefore) private {
        bytes memory refusal = abi.encodeWithSelector(
            DeedAuthorizations.ERC3009InvalidAuthorizationTime.selector,
            validAfter,
            validBefore
        );
        refused(
            address(token),
            signTransfer(ALICE_KEY, address(token), bob, 1, validAfter, validBefore, NONCE),
            refusal
        );
        refused(
            address(token),
            signApprove(ALICE_KEY, address(token), bob, 1, validAfter, validBefore, NONCE),
            refusal
        );
    }

    function test_cancelling() public {
        mint(token, alice, 1);
        bytes memory call = signCancel(BOB_KEY, address(token), NONCE);
        call = _underTheNameOf(alice, call);
        refused(address(token), call, WRONG);
        // A holder can withdraw an order during a pause too.
        token.pause(id());
        vm.expectEmit(address(token));
        emit DeedAuthorizations.AuthorizationCanceled(alice, NONCE);
        accepted(address(token), signCancel(ALICE_KEY, address(token), NONCE));
        token.unpause(id());
        assertTrue(token.authorizationState(alice, NONCE), "burned");
        refused(
            address(token),
            signTransfer(ALICE_KEY, address(token), bob, 1, NONCE),
            abi.encodeWithSelector(DeedAuthorizations.ERC3009UsedAuthorization.selector, alice, NONCE)
        );
    }

    /// @dev A signature opens no way around a rule, and a refusal leaves the order to be executed later.
    function test_signed_transfers_obey_every_rule() public {
        mint(token, alice, 1);
        bytes memory call = signTransfer(ALICE_KEY, address(token), bob, 1, NONCE);
        token.pause(id());
        refused(address(token), call, abi.encodeWithSelector(Pausable.EnforcedPause.selector));
        token.unpause(id());
        token.setFrozenTokens(alice, 1, true);
        refused(
            address(token),
            call,
            abi.encodeWithSelector(IERC7943NonFungible.ERC7943InsufficientUnfrozenBalance.selector, alice, 1)
        );
        token.setFrozenTokens(alice, 1, false);
        registry.block_(alice, true);
        refused(address(token), call, restricted(Restrictions.SENDER_BLOCKED, alice, 0, 0));
        registry.block_(alice, false);
        registry.block_(bob, true);
        refused(address(token), call, restricted(Restrictions.RECEIVER_BLOCKED, bob, 0, 0));
        registry.block_(bob, false);
        refused(
            address(token),
            signTransfer(ALICE_KEY, address(token), address(0), 1, NONCE),
            abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0))
        );
        refused(
            address(token),
            signTransfer(ALICE_KEY, address(token), bob, 2, NONCE),
            abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 2)
        );
        assertTrue(!token.authorizationState(alice, NONCE), "still free");
        accepted(address(token), call);
        DeedToken soulbound = make(address(0), true);
        mint(soulbound, alice, 1);
        refused(
            address(soulbound),
            signTransfer(ALICE_KEY, address(soulbound), bob, 1, NONCE),
            restricted(Restrictions.SOULBOUND, alice, 0, 1)
        );
    }

    function test_a_former_holders_order_is_void() public {
        mint(token, alice, 1);
        bytes memory transfer = signTransfer(ALICE_KEY, address(token), carol, 1, NONCE);
        bytes memory approval = signApprove(ALICE_KEY, address(token), carol, 1, 0, type(uint256).max, NONCE);
        vm.prank(alice);
        token.transferFrom(alice, bob, 1);
        bytes memory notHers = abi.encodeWithSelector(IERC721Errors.ERC721IncorrectOwner.selector, alice, 1, bob);
        refused(
            address(token),
            transfer,
            abi.encodeWithSelector(IERC721Errors.ERC721InsufficientApproval.selector, alice, 1)
        );
        refused(address(token), approval, notHers);
        // Not even as the new holder's operator: the order says that the deed is hers.
        vm.prank(bob);
        token.setApprovalForAll(alice, true);
        refused(address(token), transfer, notHers);
        refused(address(token), approval, notHers);
    }

    function test_a_signed_approval() public {
        mint(token, alice, 1);
        token.pause(id());
        bytes memory call = signApprove(ALICE_KEY, address(token), bob, 1, 0, type(uint256).max, NONCE);
        vm.prank(stranger);
        vm.expectEmit(address(token));
        emit DeedAuthorizations.AuthorizationUsed(alice, NONCE);
        vm.expectEmit(address(token));
        emit IERC721.Approval(alice, bob, 1);
        accepted(address(token), call);
        token.unpause(id());
        assertEq(token.getApproved(1), bob, "approved");
        refused(
            address(token),
            signApprove(ALICE_KEY, address(token), bob, 2, 0, type(uint256).max, bytes32("none")),
            abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 2)
        );
        // An approval is taken back in the same way, and a spender so approved is judged as any.
        registry.block_(bob, true);
        vm.prank(bob);
        vm.expectRevert(restricted(Restrictions.SPENDER_BLOCKED, bob, 0, 0));
        token.transferFrom(alice, carol, 1);
        accepted(
            address(token),
            signApprove(ALICE_KEY, address(token), address(0), 1, 0, type(uint256).max, bytes32("back"))
        );
        assertEq(token.getApproved(1), address(0), "taken back");
    }

    /// @dev The same call with another signer named; the signature stays.
    function _underTheNameOf(address signer, bytes memory order) private pure returns (bytes memory) {
        assembly {
            mstore(add(order, 0x24), signer)
        }
        return order;
    }

    function _signature(bytes memory order) private pure returns (uint8 v, bytes32 r, bytes32 s) {
        assembly {
            v := mload(add(order, 0xe4))
            r := mload(add(order, 0x104))
            s := mload(add(order, 0x124))
        }
    }
}
