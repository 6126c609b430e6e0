// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {Authorized} from "../parts/Authorized.sol";
import {Operations} from "../parts/Operations.sol";
import {AuthorityMissing} from "../parts/TokenTerms.sol";
import {UtilityTerms, UtilityToken} from "../UtilityToken.sol";
import {TokenFixture} from "./AssetTokenMocks.sol";

contract UtilityTokenTest is TokenFixture {
    bytes32 private constant SPEND =
        keccak256(
            "SpendWithAuthorization(address account,uint256 amount,bytes32 ref,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
    bytes32 private constant APPROVE =
        keccak256(
            "ApproveWithAuthorization(address owner,address spender,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
    bytes32 private constant BATCH =
        keccak256(
            "BatchTransferWithAuthorization(address from,address[] to,uint256[] amounts,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
    bytes32 private constant TRANSFER =
        keccak256(
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );

    UtilityToken private token;

    function setUp() public {
        vm.warp(NOW);
        token = new UtilityToken(utility());
        token.mint(alice, 1000, nextId());
    }

    function utility() private view returns (UtilityTerms memory) {
        return
            UtilityTerms(
                "Machine Hours of the Harbour Workshop, Northern Basin",
                "HOURS",
                6,
                address(authority),
                5000,
                keccak256("hours")
            );
    }

    function test_what_it_is_made_with() public view {
        assertEq(token.name(), "Machine Hours of the Harbour Workshop, Northern Basin", "name");
        assertEq(uint256(token.decimals()), 6, "decimals");
        assertEq(token.cap(), 5000, "cap");
        assertEq(token.assetId(), keccak256("hours"), "asset");
        (, string memory name, string memory version, , , , ) = token.eip712Domain();
        assertEq(name, "UtilityToken", "domain");
        assertEq(version, "1", "version");
        assertTrue(token.supportsInterface(0x01ffc9a7) && token.supportsInterface(0x36372b07), "ERC-20");
        assertTrue(token.supportsInterface(0xa219a025) && token.supportsInterface(0x9d8ff7da), "more");
        assertTrue(!token.supportsInterface(0xffffffff) && !token.supportsInterface(0x3edbb4c4), "no more");
    }

    function test_wrong_terms_are_refused() public {
        UtilityTerms memory made = utility();
        made.authority = stranger;
        vm.expectRevert(AuthorityMissing.selector);
        new UtilityToken(made);
        made = utility();
        made.cap = 0;
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20InvalidCap.selector, 0));
        new UtilityToken(made);
    }

    function test_a_stranger_may_do_nothing_by_permission() public {
        bytes[] memory calls = new bytes[](5);
        calls[0] = abi.encodeCall(token.mint, (bob, 1, REF));
        calls[1] = abi.encodeCall(token.batchMint, (pair(bob, bob), pair(1, 1), REF));
        calls[2] = abi.encodeCall(token.burn, (alice, 1, REF));
        calls[3] = abi.encodeCall(token.pause, (REF));
        calls[4] = abi.encodeCall(token.unpause, (REF));
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(stranger);
            (bool done, bytes memory answer) = address(token).call(calls[i]);
            assertTrue(!done, "refused");
            assertEq(
                keccak256(answer),
                keccak256(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, stranger)),
                "why"
            );
        }
    }

    function test_an_operation_has_one_effect() public {
        bytes[] memory calls = new bytes[](5);
        calls[0] = abi.encodeCall(token.mint, (bob, 1, bytes32(uint256(900))));
        calls[1] = abi.encodeCall(token.batchMint, (pair(bob, bob), pair(1, 1), bytes32(uint256(901))));
        calls[2] = abi.encodeCall(token.burn, (alice, 1, bytes32(uint256(902))));
        calls[3] = abi.encodeCall(token.pause, (bytes32(uint256(903))));
        calls[4] = abi.encodeCall(token.unpause, (bytes32(uint256(904))));
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool done, ) = address(token).call(calls[i]);
            assertTrue(done && token.operationExecuted(bytes32(900 + i)), "done");
            bytes memory answer;
            (done, answer) = address(token).call(calls[i]);
            assertEq(
                keccak256(answer),
                keccak256(abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, bytes32(900 + i))),
                "once"
            );
        }
        vm.expectRevert(Operations.OperationIdMissing.selector);
        token.mint(bob, 1, 0);
    }

    function test_the_cap_holds() public {
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20ExceededCap.selector, 5001, 5000));
        token.mint(bob, 4001, REF);
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20ExceededCap.selector, 5001, 5000));
        token.batchMint(pair(bob, carol), pair(4000, 1), REF);
        token.batchMint(pair(bob, carol), pair(3999, 1), REF);
        token.burn(bob, 10, nextId());
        token.mint(bob, 10, nextId());
        assertEq(token.totalSupply(), 5000, "at the cap");
        uint256[] memory one = new uint256[](1);
        vm.expectRevert(abi.encodeWithSelector(Authorized.LengthMismatch.selector, 2, 1));
        token.batchMint(pair(bob, carol), one, bytes32(uint256(50)));
    }

    function test_spending_destroys_and_tells() public {
        vm.expectEmit(address(token));
        emit UtilityToken.Spent(alice, 400, REF);
        vm.prank(alice);
        token.spend(400, REF);
        assertEq(token.totalSupply(), 600, "gone");
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice, 600, 601));
        token.spend(601, REF);
    }

    function test_a_signed_spending_is_executed_once() public {
        bytes32 structHash = keccak256(abi.encode(SPEND, alice, 100, REF, 0, NOW + 1, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        token.spendWithAuthorization(alice, 100, bytes32(uint256(1)), 0, NOW + 1, REF, v, r, s);
        vm.prank(stranger);
        token.spendWithAuthorization(alice, 100, REF, 0, NOW + 1, REF, v, r, s);
        assertEq(token.balanceOf(alice), 900, "spent");
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice, REF));
        token.spendWithAuthorization(alice, 100, REF, 0, NOW + 1, REF, v, r, s);
        vm.warp(NOW + 1);
        vm.expectRevert(
            abi.encodeWithSelector(ERC3009.ERC3009InvalidAuthorizationTime.selector, 0, NOW + 1)
        );
        token.spendWithAuthorization(alice, 100, REF, 0, NOW + 1, REF, v, r, s);
    }

    function test_a_signed_approval_and_a_signed_transfer() public {
        bytes32 structHash = keccak256(abi.encode(APPROVE, alice, bob, 250, 0, NOW + 1, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        token.approveWithAuthorization(alice, bob, 250, 0, NOW + 1, REF, v, r, s);
        assertEq(token.allowance(alice, bob), 250, "approved");
        structHash = keccak256(abi.encode(TRANSFER, alice, bob, 100, 0, NOW + 1, REF));
        (v, r, s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice, REF));
        token.transferWithAuthorization(alice, bob, 100, 0, NOW + 1, REF, v, r, s);
        structHash = keccak256(abi.encode(TRANSFER, alice, bob, 100, 0, NOW + 1, bytes32(0)));
        (v, r, s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        token.transferWithAuthorization(alice, bob, 100, 0, NOW + 1, 0, v, r, s);
        assertEq(token.balanceOf(bob), 100, "moved");
    }

    function test_batches() public {
        address[] memory to = pair(bob, carol);
        uint256[] memory amounts = pair(5, 6);
        vm.prank(alice);
        token.batchTransfer(to, amounts);
        bytes32 structHash = keccak256(
            abi.encode(
                BATCH,
                alice,
                keccak256(abi.encodePacked(to)),
                keccak256(abi.encodePacked(amounts)),
                0,
                NOW + 1,
                REF
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        token.batchTransferWithAuthorization(alice, to, amounts, 0, NOW + 1, REF, v, r, s);
        assertEq(token.balanceOf(bob), 10, "bob");
        assertEq(token.balanceOf(carol), 12, "carol");
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice, 977, 978));
        token.batchTransfer(to, pair(1, 978));
        assertEq(token.balanceOf(bob), 10, "all or none");
    }

    function test_a_pause_stops_every_change_of_a_balance() public {
        bytes32 structHash = keccak256(abi.encode(SPEND, alice, 100, REF, 0, NOW + 1, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        token.pause(nextId());
        vm.startPrank(alice);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.transfer(bob, 1);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.batchTransfer(pair(bob, carol), pair(1, 1));
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.spend(1, REF);
        token.approve(bob, 1);
        vm.stopPrank();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.spendWithAuthorization(alice, 100, REF, 0, NOW + 1, REF, v, r, s);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.mint(bob, 1, REF);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.burn(alice, 1, REF);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.pause(REF);
        token.unpause(nextId());
        token.spendWithAuthorization(alice, 100, REF, 0, NOW + 1, REF, v, r, s);
    }

    function testFuzz_the_supply_is_what_was_minted_less_what_is_gone(
        uint256 minted,
        uint256 moved,
        uint256 spent
    ) public {
        minted = bound(minted, 0, 4000);
        token.mint(bob, minted, nextId());
        moved = bound(moved, 0, minted);
        vm.prank(bob);
        token.transfer(alice, moved);
        spent = bound(spent, 0, 1000 + moved);
        vm.prank(alice);
        token.spend(spent, REF);
        assertEq(token.totalSupply(), 1000 + minted - spent, "supply");
        assertEq(token.balanceOf(alice) + token.balanceOf(bob), token.totalSupply(), "sum");
        assertTrue(token.totalSupply() <= token.cap(), "cap");
    }
}

/// @dev Three holders, and everything that may be done to a utility token.
contract UtilityHandler is TokenFixture {
    UtilityToken public immutable token;
    bool public overdrawn;
    uint256 private _nonce;

    constructor(UtilityToken token_) {
        token = token_;
    }

    function actor(uint256 index) public pure returns (address) {
        return vm.addr(1 + (index % 3));
    }

    function mint(uint256 to, uint256 amount) external {
        token.mint(actor(to), amount % 3000, ticket());
    }

    function burn(uint256 from, uint256 amount) external {
        token.burn(actor(from), bound(amount, 0, token.balanceOf(actor(from))), ticket());
    }

    function spend(uint256 from, uint256 amount) external {
        uint256 balance = token.balanceOf(actor(from));
        amount = bound(amount, 0, balance + 1);
        vm.prank(actor(from));
        token.spend(amount, 0);
        if (amount > balance) overdrawn = true;
    }

    function transfer(uint256 from, uint256 to, uint256 amount) external {
        uint256 balance = token.balanceOf(actor(from));
        amount = bound(amount, 0, balance + 1);
        vm.prank(actor(from));
        token.transfer(actor(to), amount);
        if (amount > balance) overdrawn = true;
    }

    function pause(uint256 seed) external {
        if (token.paused()) token.unpause(ticket());
        else if (seed % 5 == 0) token.pause(ticket());
    }

    function ticket() private returns (bytes32) {
        return bytes32(++_nonce);
    }
}

contract UtilityTokenInvariantsTest is TokenFixture {
    UtilityToken private token;
    UtilityHandler private handler;

    function setUp() public {
        token = new UtilityToken(UtilityTerms("Hours", "H", 0, address(authority), 10_000, 0));
        handler = new UtilityHandler(token);
        authority.allow(address(handler));
        targetContract(address(handler));
    }

    function invariant_the_supply_is_the_sum_and_within_the_cap() public view {
        uint256 sum;
        for (uint256 i = 0; i < 3; ++i) sum += token.balanceOf(handler.actor(i));
        assertEq(token.totalSupply(), sum, "sum");
        assertTrue(sum <= 10_000 && !handler.overdrawn(), "cap");
    }
}
