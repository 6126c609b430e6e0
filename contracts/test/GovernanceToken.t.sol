// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {GovernanceTerms, GovernanceToken} from "../GovernanceToken.sol";
import {Authorized} from "../parts/Authorized.sol";
import {Operations} from "../parts/Operations.sol";
import {AuthorityMissing} from "../parts/TokenTerms.sol";
import {Harness} from "./Harness.sol";

contract GovernanceTokenTest is Harness {
    uint256 private constant KEY = 0xA11CE;
    uint256 private constant CAP = 1e24;
    address private constant BOB = address(0xB0B);
    address private constant CAROL = address(0xCA401);

    AccessManager private authority;
    GovernanceToken private token;
    address private alice;

    function setUp() public {
        vm.warp(1_000_000);
        vm.roll(100);
        authority = new AccessManager(address(this));
        token = new GovernanceToken(_terms(CAP));
        alice = vm.addr(KEY);
        token.mint(alice, 1000, "mint");
    }

    function _terms(uint256 cap) private view returns (GovernanceTerms memory) {
        return GovernanceTerms({
            name: "Votes on the vineyard of Saint-Etienne-du-Bois, second parcel",
            symbol: "VVE",
            decimals: 6,
            authority: address(authority),
            cap: cap,
            assetId: "vineyard"
        });
    }

    function _digest(bytes32 struct_) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), struct_));
    }

    struct Signature {
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    function _sign(uint256 key, bytes32 struct_) private view returns (Signature memory made) {
        (made.v, made.r, made.s) = vm.sign(key, _digest(struct_));
    }

    function _delegation(address to, uint256 after_, uint256 before, bytes32 nonce) private view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "DelegateWithAuthorization(address delegator,address delegatee,uint256 validAfter,"
                    "uint256 validBefore,bytes32 nonce)"
                ),
                alice,
                to,
                after_,
                before,
                nonce
            )
        );
    }

    // how it is made

    function test_what_it_is_made_with() public view {
        assertEq(token.name(), "Votes on the vineyard of Saint-Etienne-du-Bois, second parcel", "a long name");
        assertEq(token.symbol(), "VVE", "symbol");
        assertEq(uint256(token.decimals()), 6, "decimals");
        assertEq(token.cap(), CAP, "cap");
        assertEq(token.assetId(), "vineyard", "asset");
        assertEq(token.authority(), address(authority), "authority");
        assertEq(token.CLOCK_MODE(), "mode=blocknumber&from=default", "clock mode");
        assertEq(uint256(token.clock()), block.number, "clock");
        (, string memory name, string memory version,, address self,,) = token.eip712Domain();
        assertEq(name, "GovernanceToken", "domain");
        assertEq(version, "1", "version");
        assertEq(self, address(token), "contract");
    }

    function test_the_cap_is_between_one_and_what_a_checkpoint_holds(uint256 cap) public {
        cap = bound(cap, uint256(type(uint208).max) + 1, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20InvalidCap.selector, cap));
        new GovernanceToken(_terms(cap));
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20InvalidCap.selector, 0));
        new GovernanceToken(_terms(0));
        GovernanceToken largest = new GovernanceToken(_terms(type(uint208).max));
        largest.mint(alice, type(uint208).max, "all");
        assertEq(largest.totalSupply(), type(uint208).max, "all of it");
    }

    function test_an_authority_without_code_is_refused() public {
        GovernanceTerms memory terms = _terms(CAP);
        terms.authority = address(0xE0A);
        vm.expectRevert(abi.encodeWithSelector(AuthorityMissing.selector));
        new GovernanceToken(terms);
    }

    function test_interfaces() public view {
        bytes4[6] memory yes = [
            bytes4(0x01ffc9a7), bytes4(0x36372b07), bytes4(0xa219a025), bytes4(0x9d8ff7da), bytes4(0xe90fb3f6),
            bytes4(0xda287a1d)
        ];
        for (uint256 i; i < yes.length; ++i) assertTrue(token.supportsInterface(yes[i]), "supported");
        assertEq(token.supportsInterface(0xffffffff), false, "none");
    }

    // minting and burning

    function test_mint_and_burn() public {
        token.mint(BOB, 500, "more");
        token.burn(BOB, 200, "burn");
        assertEq(token.balanceOf(BOB), 300, "balance");
        assertEq(token.totalSupply(), 1300, "supply");
    }

    function test_the_supply_stays_within_the_cap(uint256 amount) public {
        amount = bound(amount, CAP - 999, type(uint208).max);
        vm.expectRevert(
            abi.encodeWithSelector(ERC20Capped.ERC20ExceededCap.selector, amount + 1000, CAP)
        );
        token.mint(BOB, amount, "too much");
        token.mint(BOB, CAP - 1000, "just enough");
    }

    function test_a_batch_is_minted_wholly_or_not() public {
        address[] memory to = new address[](2);
        uint256[] memory amounts = new uint256[](2);
        (to[0], to[1], amounts[0], amounts[1]) = (BOB, CAROL, 10, 20);
        token.batchMint(to, amounts, "batch");
        assertEq(token.balanceOf(BOB) + token.balanceOf(CAROL), 30, "both");
        amounts[1] = CAP;
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20ExceededCap.selector, 1040 + CAP, CAP));
        token.batchMint(to, amounts, "second");
        assertEq(token.balanceOf(BOB), 10, "none");
        vm.expectRevert(abi.encodeWithSelector(Authorized.LengthMismatch.selector, 2, 3));
        token.batchMint(to, new uint256[](3), "third");
    }

    function test_only_the_permitted_mint_and_burn(address caller) public {
        vm.assume(caller != address(this));
        bytes memory reason =
            abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller);
        vm.startPrank(caller);
        vm.expectRevert(reason);
        token.mint(caller, 1, "a");
        vm.expectRevert(reason);
        token.batchMint(new address[](0), new uint256[](0), "b");
        vm.expectRevert(reason);
        token.burn(alice, 1, "c");
        // A stranger learns nothing about ids.
        vm.expectRevert(reason);
        token.mint(caller, 1, "mint");
        vm.stopPrank();
    }

    function test_an_operation_has_one_effect() public {
        bytes memory used = abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, bytes32("mint"));
        vm.expectRevert(used);
        token.mint(alice, 1000, "mint");
        vm.expectRevert(used);
        token.burn(alice, 1000, "mint");
        vm.expectRevert(used);
        token.batchMint(new address[](0), new uint256[](0), "mint");
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationIdMissing.selector));
        token.mint(alice, 1, 0);
        GovernanceToken other = new GovernanceToken(_terms(CAP));
        vm.expectEmit(address(other));
        emit Operations.Operation("mint", GovernanceToken.mint.selector, address(this));
        other.mint(alice, 1, "mint");
        assertTrue(other.operationExecuted("mint") && !other.operationExecuted("burn"), "its own list");
    }

    function test_what_is_not_there_is_not_burned() public {
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, BOB, 0, 1)
        );
        token.burn(BOB, 1, "burn");
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, address(0)));
        token.mint(address(0), 1, "nobody");
    }

    // votes

    function test_units_vote_once_delegated() public {
        assertEq(token.getVotes(alice), 0, "not yet");
        vm.prank(alice);
        token.delegate(alice);
        assertEq(token.getVotes(alice), 1000, "own");
        vm.prank(alice);
        token.delegate(BOB);
        assertEq(token.getVotes(alice), 0, "given away");
        assertEq(token.getVotes(BOB), 1000, "received");
        vm.prank(alice);
        token.delegate(address(0));
        assertEq(token.getVotes(BOB), 0, "taken back");
    }

    function test_votes_follow_every_move() public {
        vm.prank(alice);
        token.delegate(BOB);
        vm.prank(CAROL);
        token.delegate(CAROL);
        vm.prank(alice);
        token.transfer(CAROL, 300);
        assertEq(token.getVotes(BOB), 700, "after a transfer");
        assertEq(token.getVotes(CAROL), 300, "received");
        token.burn(alice, 200, "burn");
        assertEq(token.getVotes(BOB), 500, "after a burn");
        token.mint(alice, 50, "more");
        assertEq(token.getVotes(BOB), 550, "after a mint");
    }

    function test_votes_of_the_past_stay() public {
        vm.prank(alice);
        token.delegate(alice);
        vm.roll(200);
        vm.prank(alice);
        token.transfer(BOB, 400);
        token.mint(BOB, 1, "more");
        vm.roll(300);
        assertEq(token.getPastVotes(alice, 199), 1000, "before");
        assertEq(token.getPastVotes(alice, 200), 600, "after");
        assertEq(token.getPastTotalSupply(199), 1000, "supply before");
        assertEq(token.getPastTotalSupply(200), 1001, "supply after");
        vm.expectRevert(abi.encodeWithSelector(Votes.ERC5805FutureLookup.selector, 300, uint48(300)));
        token.getPastVotes(alice, 300);
    }

    // what holders sign

    function test_a_signed_delegation_is_sent_by_anyone() public {
        Signature memory sig = _sign(KEY, _delegation(BOB, 0, 2_000_000, "n"));
        vm.expectEmit(address(token));
        emit IVotes.DelegateChanged(alice, address(0), BOB);
        vm.prank(CAROL);
        token.delegateWithAuthorization(alice, BOB, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
        assertEq(token.delegates(alice), BOB, "delegate");
        assertEq(token.getVotes(BOB), 1000, "votes");
        assertTrue(token.authorizationState(alice, "n"), "used");
        vm.prank(alice);
        token.delegate(alice);
        vm.expectRevert(
            abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice, bytes32("n"))
        );
        token.delegateWithAuthorization(alice, BOB, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
    }

    function test_a_delegation_says_what_was_signed(address other, bytes32 nonce) public {
        vm.assume(other != BOB && nonce != "n" && other != alice);
        Signature memory sig = _sign(KEY, _delegation(BOB, 0, 2_000_000, "n"));
        bytes memory invalid = abi.encodeWithSelector(ERC3009.ERC3009InvalidSignature.selector);
        vm.expectRevert(invalid);
        token.delegateWithAuthorization(alice, other, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
        vm.expectRevert(invalid);
        token.delegateWithAuthorization(other, BOB, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
        vm.expectRevert(invalid);
        token.delegateWithAuthorization(alice, BOB, 0, 2_000_000, nonce, sig.v, sig.r, sig.s);
        vm.expectRevert(invalid);
        token.delegateWithAuthorization(alice, BOB, 0, 2_000_001, "n", sig.v, sig.r, sig.s);
        GovernanceToken twin = new GovernanceToken(_terms(CAP));
        vm.expectRevert(invalid);
        twin.delegateWithAuthorization(alice, BOB, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
    }

    function test_a_delegation_has_its_time() public {
        Signature memory sig = _sign(KEY, _delegation(BOB, 1_000_000, 1_000_010, "n"));
        bytes memory reason = abi.encodeWithSelector(
            ERC3009.ERC3009InvalidAuthorizationTime.selector, 1_000_000, 1_000_010
        );
        vm.expectRevert(reason);
        token.delegateWithAuthorization(alice, BOB, 1_000_000, 1_000_010, "n", sig.v, sig.r, sig.s);
        vm.warp(1_000_010);
        vm.expectRevert(reason);
        token.delegateWithAuthorization(alice, BOB, 1_000_000, 1_000_010, "n", sig.v, sig.r, sig.s);
        vm.warp(1_000_001);
        token.delegateWithAuthorization(alice, BOB, 1_000_000, 1_000_010, "n", sig.v, sig.r, sig.s);
    }

    function test_a_holder_withdraws_a_signed_delegation() public {
        Signature memory sig = _sign(KEY, _delegation(BOB, 0, 2_000_000, "n"));
        bytes32 type_ = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
        Signature memory no = _sign(KEY, keccak256(abi.encode(type_, alice, bytes32("n"))));
        token.cancelAuthorization(alice, "n", no.v, no.r, no.s);
        vm.expectRevert(
            abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice, bytes32("n"))
        );
        token.delegateWithAuthorization(alice, BOB, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
    }

    function test_one_nonce_serves_one_act_of_any_kind() public {
        Signature memory sig = _sign(KEY, _delegation(BOB, 0, 2_000_000, "n"));
        token.delegateWithAuthorization(alice, BOB, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
        bytes memory reason =
            abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice, bytes32("n"));
        bytes32 type_ = keccak256(
            "ApproveWithAuthorization(address owner,address spender,uint256 value,uint256 validAfter,"
            "uint256 validBefore,bytes32 nonce)"
        );
        sig = _sign(KEY, keccak256(abi.encode(type_, alice, BOB, 5, 0, 2_000_000, bytes32("n"))));
        vm.expectRevert(reason);
        token.approveWithAuthorization(alice, BOB, 5, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
        type_ = keccak256(
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
            "uint256 validBefore,bytes32 nonce)"
        );
        sig = _sign(KEY, keccak256(abi.encode(type_, alice, BOB, 5, 0, 2_000_000, bytes32("n"))));
        vm.expectRevert(reason);
        token.transferWithAuthorization(alice, BOB, 5, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
    }

    function test_a_signed_approval() public {
        bytes32 type_ = keccak256(
            "ApproveWithAuthorization(address owner,address spender,uint256 value,uint256 validAfter,"
            "uint256 validBefore,bytes32 nonce)"
        );
        Signature memory sig =
            _sign(KEY, keccak256(abi.encode(type_, alice, BOB, 5, 0, 2_000_000, bytes32("n"))));
        token.approveWithAuthorization(alice, BOB, 5, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
        assertEq(token.allowance(alice, BOB), 5, "allowance");
        vm.prank(BOB);
        token.transferFrom(alice, CAROL, 5);
    }

    function test_signed_transfers_move_votes() public {
        vm.prank(alice);
        token.delegate(alice);
        vm.prank(BOB);
        token.delegate(BOB);
        bytes32 type_ = keccak256(
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
            "uint256 validBefore,bytes32 nonce)"
        );
        Signature memory sig =
            _sign(KEY, keccak256(abi.encode(type_, alice, BOB, 5, 0, 2_000_000, bytes32("n"))));
        token.transferWithAuthorization(alice, BOB, 5, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
        assertEq(token.getVotes(alice), 995, "gone");
        assertEq(token.getVotes(BOB), 5, "arrived");
    }

    function test_a_batch_is_moved_wholly_or_not() public {
        address[] memory to = new address[](2);
        uint256[] memory amounts = new uint256[](2);
        (to[0], to[1], amounts[0], amounts[1]) = (BOB, CAROL, 10, 20);
        vm.startPrank(alice);
        token.batchTransfer(to, amounts);
        assertEq(token.balanceOf(BOB) + token.balanceOf(CAROL), 30, "both");
        amounts[1] = 1000;
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice, 960, 1000)
        );
        token.batchTransfer(to, amounts);
        vm.expectRevert(abi.encodeWithSelector(Authorized.LengthMismatch.selector, 2, 1));
        token.batchTransfer(to, new uint256[](1));
        vm.stopPrank();
    }

    function test_a_signed_batch() public {
        address[] memory to = new address[](2);
        uint256[] memory amounts = new uint256[](2);
        (to[0], to[1], amounts[0], amounts[1]) = (BOB, CAROL, 10, 20);
        bytes32 type_ = keccak256(
            "BatchTransferWithAuthorization(address from,address[] to,uint256[] amounts,uint256 validAfter,"
            "uint256 validBefore,bytes32 nonce)"
        );
        bytes32 struct_ = keccak256(
            abi.encode(
                type_,
                alice,
                keccak256(abi.encode(uint256(uint160(BOB)), uint256(uint160(CAROL)))),
                keccak256(abi.encode(uint256(10), uint256(20))),
                0,
                2_000_000,
                bytes32("n")
            )
        );
        Signature memory sig = _sign(KEY, struct_);
        amounts[0] = 11;
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009InvalidSignature.selector));
        token.batchTransferWithAuthorization(alice, to, amounts, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
        amounts[0] = 10;
        token.batchTransferWithAuthorization(alice, to, amounts, 0, 2_000_000, "n", sig.v, sig.r, sig.s);
        assertEq(token.balanceOf(BOB), 10, "first");
        assertEq(token.balanceOf(CAROL), 20, "second");
    }

    function test_permit_and_delegateBySig_share_a_sequence() public {
        bytes32 type_ =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        Signature memory sig = _sign(KEY, keccak256(abi.encode(type_, alice, BOB, 5, 0, 2_000_000)));
        token.permit(alice, BOB, 5, 2_000_000, sig.v, sig.r, sig.s);
        assertEq(token.allowance(alice, BOB), 5, "allowance");
        type_ = keccak256("Delegation(address delegatee,uint256 nonce,uint256 expiry)");
        sig = _sign(KEY, keccak256(abi.encode(type_, CAROL, 1, 2_000_000)));
        token.delegateBySig(CAROL, 1, 2_000_000, sig.v, sig.r, sig.s);
        assertEq(token.delegates(alice), CAROL, "delegate");
        assertEq(token.nonces(alice), 2, "both counted");
    }
}

/// @dev Five holders who are minted to and burned from, transfer and delegate in any order, also within one block.
contract GovernanceTokenHandler is Harness {
    uint256 public constant ACTORS = 5;
    uint256 public constant CAP = 1e9;

    struct Past {
        address account;
        uint256 number;
        uint256 votes;
        uint256 supply;
    }

    GovernanceToken public token;
    Past[] public pasts;
    uint256 private _operations;

    constructor() {
        token = new GovernanceToken(
            GovernanceTerms("Votes", "V", 0, address(new AccessManager(address(this))), CAP, 0)
        );
    }

    function actor(uint256 index) public pure returns (address) {
        return address(uint160(0x5000 + (index % ACTORS)));
    }

    function mint(uint256 to, uint256 amount) external {
        token.mint(actor(to), bound(amount, 0, CAP / 4), bytes32(++_operations));
    }

    function burn(uint256 from, uint256 amount) external {
        token.burn(actor(from), bound(amount, 0, token.balanceOf(actor(from))), bytes32(++_operations));
    }

    function transfer(uint256 from, uint256 to, uint256 amount) external {
        amount = bound(amount, 0, token.balanceOf(actor(from)));
        vm.prank(actor(from));
        token.transfer(actor(to), amount);
    }

    function delegate(uint256 from, uint256 to) external {
        vm.prank(actor(from));
        token.delegate(to % (ACTORS + 1) == ACTORS ? address(0) : actor(to));
    }

    function next(uint256 index, uint256 blocks) external {
        if (pasts.length < 16) {
            address account = actor(index);
            pasts.push(Past(account, block.number, token.getVotes(account), token.totalSupply()));
        }
        vm.roll(block.number + bound(blocks, 1, 100));
    }

    function count() external view returns (uint256) {
        return pasts.length;
    }
}

contract GovernanceTokenInvariants is Harness {
    GovernanceTokenHandler private handler;
    GovernanceToken private token;

    function setUp() public {
        handler = new GovernanceTokenHandler();
        token = handler.token();
        targetContract(address(handler));
        bytes4[] memory selectors = new bytes4[](5);
        selectors[0] = GovernanceTokenHandler.mint.selector;
        selectors[1] = GovernanceTokenHandler.burn.selector;
        selectors[2] = GovernanceTokenHandler.transfer.selector;
        selectors[3] = GovernanceTokenHandler.delegate.selector;
        selectors[4] = GovernanceTokenHandler.next.selector;
        targetSelector(FuzzSelector(address(handler), selectors));
    }

    function invariant_the_supply_is_the_sum_of_balances_within_the_cap() public view {
        uint256 sum;
        for (uint256 i; i < handler.ACTORS(); ++i) sum += token.balanceOf(handler.actor(i));
        assertEq(token.totalSupply(), sum, "supply");
        assertTrue(sum <= token.cap(), "cap");
    }

    function invariant_votes_are_the_sum_of_delegated_balances() public view {
        for (uint256 d; d < handler.ACTORS(); ++d) {
            uint256 sum;
            for (uint256 i; i < handler.ACTORS(); ++i) {
                if (token.delegates(handler.actor(i)) == handler.actor(d)) sum += token.balanceOf(handler.actor(i));
            }
            assertEq(token.getVotes(handler.actor(d)), sum, "votes");
        }
        assertEq(token.getVotes(address(0)), 0, "nobody's votes");
    }

    function invariant_the_past_does_not_change() public view {
        for (uint256 i; i < handler.count(); ++i) {
            (address account, uint256 number, uint256 votes, uint256 supply) = handler.pasts(i);
            assertEq(token.getPastVotes(account, number), votes, "votes");
            assertEq(token.getPastTotalSupply(number), supply, "supply");
        }
    }
}
