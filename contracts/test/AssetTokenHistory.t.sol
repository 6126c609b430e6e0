// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {AssetToken} from "../AssetToken.sol";
import {AssetTokenHistory} from "../AssetTokenHistory.sol";
import {IERC7943Fungible} from "../parts/IERC7943Fungible.sol";
import {Restrictions, TransferRestricted} from "../parts/Restrictions.sol";
import {AssetTokenHandler} from "./AssetTokenHandler.sol";
import {FakeRegistry, TokenFixture} from "./AssetTokenMocks.sol";

contract AssetTokenHistoryTest is TokenFixture {
    AssetTokenHistory private token;
    FakeRegistry private registry;

    function setUp() public {
        vm.warp(NOW);
        vm.roll(100);
        registry = new FakeRegistry();
        token = new AssetTokenHistory(terms(address(registry), address(0)));
        token.mint(alice, 1000, nextId());
    }

    function test_the_past_is_told_by_block() public {
        vm.roll(200);
        vm.prank(alice);
        token.transfer(bob, 300);
        vm.roll(300);
        token.burn(bob, 100, nextId());
        vm.roll(301);
        assertEq(token.getPastBalanceOf(alice, 99), 0, "before the mint");
        assertEq(token.getPastBalanceOf(alice, 100), 1000, "in its block");
        assertEq(token.getPastBalanceOf(alice, 199), 1000, "before the transfer");
        assertEq(token.getPastBalanceOf(alice, 200), 700, "after it");
        assertEq(token.getPastBalanceOf(bob, 200), 300, "receiver");
        assertEq(token.getPastBalanceOf(bob, 300), 200, "after the burn");
        assertEq(token.getPastTotalSupply(299), 1000, "supply");
        assertEq(token.getPastTotalSupply(300), 900, "supply after the burn");
    }

    function test_the_present_block_is_no_past() public {
        vm.expectRevert(abi.encodeWithSelector(Votes.ERC5805FutureLookup.selector, 100, 100));
        token.getPastBalanceOf(alice, 100);
        vm.expectRevert(abi.encodeWithSelector(Votes.ERC5805FutureLookup.selector, 100, 100));
        token.getPastTotalSupply(100);
        assertEq(uint256(token.clock()), 100, "clock");
        assertEq(token.CLOCK_MODE(), "mode=blocknumber&from=default", "mode");
    }

    function test_a_forced_transfer_moves_votes_too() public {
        vm.prank(alice);
        token.delegate(alice);
        vm.prank(bob);
        token.delegate(carol);
        token.setFrozenTokens(alice, type(uint256).max);
        token.pause(nextId());
        vm.roll(101);
        token.forcedTransferRef(alice, bob, 400, "order", 0, nextId());
        assertEq(token.getVotes(alice), 600, "sender");
        assertEq(token.getVotes(carol), 400, "receiver's delegate");
        vm.roll(102);
        assertEq(token.getPastVotes(alice, 100), 1000, "before");
        assertEq(token.getPastDelegate(bob, 101), carol, "delegate");
        assertEq(token.getPastBalanceOf(bob, 101), 400, "balance");
    }

    function test_the_rules_are_those_of_the_plain_token() public {
        token.setFrozenTokens(alice, 950);
        vm.prank(alice);
        vm.expectRevert(
            abi.encodeWithSelector(IERC7943Fungible.ERC7943InsufficientUnfrozenBalance.selector, alice, 51, 50)
        );
        token.transfer(bob, 51);
        vm.prank(alice);
        token.approve(carol, type(uint256).max);
        registry.setBlocked(carol, true);
        vm.prank(carol);
        vm.expectRevert(
            abi.encodeWithSelector(TransferRestricted.selector, Restrictions.SPENDER_BLOCKED, carol, 0, 0)
        );
        token.transferFrom(alice, bob, 1);
        vm.prank(alice);
        token.redeem(50, REF);
        assertEq(uint256(token.decimals()), 2, "decimals");
    }

    function test_the_supply_ends_where_votes_end() public {
        uint256 most = type(uint208).max;
        vm.expectRevert(abi.encodeWithSelector(ERC20Votes.ERC20ExceededSafeSupply.selector, most + 1, most));
        token.mint(bob, most - 999, bytes32(uint256(50)));
        token.mint(bob, most - 1000, bytes32(uint256(50)));
    }

    function test_permit_and_delegation_share_one_sequence() public {
        bytes32 structHash = keccak256(
            abi.encode(keccak256("Delegation(address delegatee,uint256 nonce,uint256 expiry)"), bob, 0, NOW + 1)
        );
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        token.delegateBySig(bob, 0, NOW + 1, v, r, s);
        assertEq(token.delegates(alice), bob, "delegated");
        assertEq(token.nonces(alice), 1, "used");
    }

    function test_interfaces() public view {
        bytes4[6] memory known = [
            bytes4(0x01ffc9a7),
            bytes4(0x36372b07),
            bytes4(0x3edbb4c4),
            bytes4(0xab84a5c8),
            bytes4(0xe90fb3f6),
            bytes4(0xda287a1d)
        ];
        for (uint256 i = 0; i < known.length; ++i) assertTrue(token.supportsInterface(known[i]), "known");
        assertTrue(!token.supportsInterface(0xffffffff), "ERC-165's own negative");
    }
}

/// @dev The plain token's handler, and besides it delegations, blocks and what the past should be.
contract HistoryHandler is AssetTokenHandler {
    mapping(uint256 block_ => mapping(address account => uint256)) public balanceAt;
    mapping(uint256 block_ => uint256) public supplyAt;
    uint256[] private _blocks;

    constructor(AssetToken token_, FakeRegistry registry_) AssetTokenHandler(token_, registry_) {}

    function delegate(uint256 from, uint256 to) external {
        vm.prank(actor(from));
        AssetTokenHistory(address(token)).delegate(to % 5 == 0 ? address(0) : actor(to));
    }

    function roll(uint256 count) external {
        uint256 present = uint256(AssetTokenHistory(address(token)).clock());
        for (uint256 i = 0; i < actors.length; ++i) balanceAt[present][actors[i]] = token.balanceOf(actors[i]);
        supplyAt[present] = token.totalSupply();
        _blocks.push(present);
        vm.roll(present + bound(count, 1, 3));
    }

    function blocks() external view returns (uint256[] memory) {
        return _blocks;
    }
}

contract AssetTokenHistoryInvariantsTest is TokenFixture {
    AssetTokenHistory private token;
    HistoryHandler private handler;

    function setUp() public {
        vm.warp(NOW);
        vm.roll(100);
        FakeRegistry registry = new FakeRegistry();
        token = new AssetTokenHistory(terms(address(registry), address(0)));
        handler = new HistoryHandler(token, registry);
        authority.allow(address(handler));
        handler.mint(0, 1e21);
        handler.mint(1, 1e21);
        targetContract(address(handler));
    }

    function invariant_no_law_was_broken() public view {
        assertEq(handler.broken(), "", handler.broken());
    }

    function invariant_votes_are_the_sum_of_what_is_delegated() public view {
        uint256 votes;
        uint256 delegated;
        uint256 sum;
        for (uint256 i = 0; i < handler.actorCount(); ++i) {
            address account = handler.actor(i);
            votes += token.getVotes(account);
            sum += token.balanceOf(account);
            if (token.delegates(account) != address(0)) delegated += token.balanceOf(account);
            uint256 own;
            for (uint256 j = 0; j < handler.actorCount(); ++j) {
                if (token.delegates(handler.actor(j)) == account) own += token.balanceOf(handler.actor(j));
            }
            assertEq(token.getVotes(account), own, "each delegate");
        }
        assertEq(votes, delegated, "votes");
        assertEq(token.totalSupply(), sum, "supply");
    }

    function invariant_the_past_stays_what_it_was() public view {
        uint256[] memory blocks = handler.blocks();
        for (uint256 i = 0; i < blocks.length; ++i) {
            assertEq(token.getPastTotalSupply(blocks[i]), handler.supplyAt(blocks[i]), "supply");
            for (uint256 j = 0; j < handler.actorCount(); ++j) {
                address account = handler.actor(j);
                assertEq(
                    token.getPastBalanceOf(account, blocks[i]),
                    handler.balanceAt(blocks[i], account),
                    "balance"
                );
            }
        }
    }
}
