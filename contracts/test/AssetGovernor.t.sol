// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {GovernorPreventLateQuorum} from "@openzeppelin/contracts/governance/extensions/GovernorPreventLateQuorum.sol";
import {GovernorVotesQuorumFraction} from
    "@openzeppelin/contracts/governance/extensions/GovernorVotesQuorumFraction.sol";
import {Panic} from "@openzeppelin/contracts/utils/Panic.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {AssetGovernor, GovernorTerms} from "../AssetGovernor.sol";
import {GovernanceTerms, GovernanceToken} from "../GovernanceToken.sol";
import {Wallet} from "./Currencies.sol";
import {Harness, Vm} from "./Harness.sol";

/// @dev Votes counted by seconds, which the governor refuses.
contract SecondsClock {
    function clock() external view returns (uint48) {
        return uint48(block.timestamp);
    }

    function CLOCK_MODE() external pure returns (string memory) {
        return "mode=timestamp";
    }
}

contract AssetGovernorTest is Harness {
    uint256 private constant KEY = 0xA11CE;
    uint64 private constant MINTER = 2;
    uint8 private constant AGAINST = 0;
    uint8 private constant FOR = 1;
    uint8 private constant ABSTAIN = 2;
    address private constant BOB = address(0xB0B);
    address private constant CAROL = address(0xCA401);
    address private constant STRANGER = address(0xBAD);

    AccessManager private authority;
    GovernanceToken private token;
    AssetGovernor private governor;
    TimelockController private timelock;
    address private alice;

    /// @dev Alice has 300 votes, Bob 300, Carol 50 of a supply of 1000; the quorum is 400.
    function setUp() public {
        vm.warp(1_000_000);
        vm.roll(100);
        alice = vm.addr(KEY);
        authority = new AccessManager(address(this));
        token = new GovernanceToken(GovernanceTerms("Votes", "V", 0, address(authority), 1e9, "asset"));
        token.mint(alice, 300, "alice");
        token.mint(BOB, 300, "bob");
        token.mint(CAROL, 50, "carol");
        token.mint(address(0x51EE9), 350, "asleep");
        governor = new AssetGovernor(_terms());
        timelock = TimelockController(payable(governor.timelock()));
        address[3] memory voters = [alice, BOB, CAROL];
        for (uint256 i; i < 3; ++i) {
            vm.prank(voters[i]);
            token.delegate(voters[i]);
        }
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = token.mint.selector;
        authority.setTargetFunctionRole(address(token), selectors, MINTER);
        authority.grantRole(MINTER, address(timelock), 0);
        vm.roll(101);
    }

    function _terms() private view returns (GovernorTerms memory) {
        return GovernorTerms({
            name: "The assembly of the holders of the vineyard of Saint-Etienne",
            token: address(token),
            votingDelay: 5,
            votingPeriod: 50,
            proposalThreshold: 50,
            quorumPercent: 40,
            voteExtension: 20,
            timelockDelay: 2 days
        });
    }

    struct Call {
        address[] targets;
        uint256[] values;
        bytes[] datas;
        string description;
    }

    function _call(address target, uint256 value, bytes memory data) private pure returns (Call memory made) {
        made.targets = new address[](1);
        made.values = new uint256[](1);
        made.datas = new bytes[](1);
        (made.targets[0], made.values[0], made.datas[0], made.description) = (target, value, data, "do it");
    }

    function _minting() private view returns (Call memory) {
        return _call(address(token), 0, abi.encodeCall(token.mint, (STRANGER, 77, "by vote")));
    }

    function _propose(Call memory made) private returns (uint256) {
        vm.prank(alice);
        return governor.propose(made.targets, made.values, made.datas, made.description);
    }

    function _vote(uint256 id, address voter, uint8 support) private {
        vm.prank(voter);
        governor.castVote(id, support);
    }

    function _open(Call memory made) private returns (uint256 id) {
        id = _propose(made);
        vm.roll(governor.proposalSnapshot(id) + 1);
    }

    function _pass(Call memory made) private returns (uint256 id) {
        id = _open(made);
        _vote(id, alice, FOR);
        _vote(id, BOB, FOR);
        vm.roll(governor.proposalDeadline(id) + 1);
        governor.queue(id);
        vm.warp(governor.proposalEta(id));
    }

    function _is(uint256 id, IGovernor.ProposalState state) private view {
        assertEq(uint256(governor.state(id)), uint256(state), "state");
    }

    function _unexpected(uint256 id, IGovernor.ProposalState wanted) private view returns (bytes memory) {
        return abi.encodeWithSelector(
            IGovernor.GovernorUnexpectedProposalState.selector,
            id,
            governor.state(id),
            bytes32(1 << uint8(wanted))
        );
    }

    // how it is made

    function test_what_it_is_made_with() public view {
        assertEq(governor.name(), "The assembly of the holders of the vineyard of Saint-Etienne", "a long name");
        assertEq(address(governor.token()), address(token), "token");
        assertEq(governor.votingDelay(), 5, "delay");
        assertEq(governor.votingPeriod(), 50, "period");
        assertEq(governor.proposalThreshold(), 50, "threshold");
        assertEq(governor.quorumNumerator(), 40, "quorum");
        assertEq(governor.quorum(100), 400, "quorum of the supply");
        assertEq(uint256(governor.lateQuorumVoteExtension()), 20, "extension");
        assertEq(timelock.getMinDelay(), 2 days, "timelock");
        assertEq(governor.CLOCK_MODE(), token.CLOCK_MODE(), "clock");
        assertEq(governor.COUNTING_MODE(), "support=bravo&quorum=for,abstain", "counting");
        (, string memory name, string memory version,, address self,,) = governor.eip712Domain();
        assertEq(name, "AssetGovernor", "domain");
        assertEq(version, "1", "version");
        assertEq(self, address(governor), "contract");
        assertTrue(governor.supportsInterface(type(IGovernor).interfaceId), "interface");
    }

    function test_nobody_administrates_the_timelock(address somebody) public view {
        if (somebody == address(timelock)) return;
        assertEq(timelock.hasRole(timelock.DEFAULT_ADMIN_ROLE(), somebody), false, "fuzzed");
        address[4] memory suspects = [address(this), address(governor), address(0), alice];
        for (uint256 i; i < 4; ++i) {
            assertEq(timelock.hasRole(timelock.DEFAULT_ADMIN_ROLE(), suspects[i]), false, "suspect");
        }
        assertTrue(timelock.hasRole(timelock.DEFAULT_ADMIN_ROLE(), address(timelock)), "itself, by a vote");
        if (somebody == address(governor)) return;
        assertEq(timelock.hasRole(timelock.PROPOSER_ROLE(), somebody), false, "proposer");
        assertEq(timelock.hasRole(timelock.CANCELLER_ROLE(), somebody), false, "canceller");
    }

    /// @dev Not even for a moment: all roles granted in the making are these four.
    function test_nobody_ever_administrated_the_timelock() public {
        vm.recordLogs();
        AssetGovernor made = new AssetGovernor(_terms());
        address lock = made.timelock();
        uint256 grants;
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] != IAccessControl.RoleGranted.selector) continue;
            ++grants;
            address account = address(uint160(uint256(logs[i].topics[2])));
            bytes32 role = logs[i].topics[1];
            if (role == 0) assertEq(account, lock, "admin");
            else if (role == timelock.EXECUTOR_ROLE()) assertEq(account, address(0), "executor");
            else assertEq(account, address(made), "proposer or canceller");
        }
        assertEq(grants, 4, "admin, proposer, canceller, executor");
    }

    function test_strangers_have_no_power_over_the_timelock() public {
        bytes32 admin = timelock.DEFAULT_ADMIN_ROLE();
        bytes32 proposer = timelock.PROPOSER_ROLE();
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, address(this), proposer)
        );
        timelock.schedule(address(token), 0, "", 0, 0, 2 days);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, address(this), admin)
        );
        timelock.grantRole(proposer, address(this));
        vm.expectRevert(
            abi.encodeWithSelector(TimelockController.TimelockUnauthorizedCaller.selector, address(this))
        );
        timelock.updateDelay(0);
    }

    function test_a_token_that_counts_seconds_is_refused() public {
        GovernorTerms memory terms = _terms();
        terms.token = address(new SecondsClock());
        vm.expectRevert(
            abi.encodeWithSelector(AssetGovernor.ClockModeUnsupported.selector, "mode=timestamp")
        );
        new AssetGovernor(terms);
    }

    function test_no_token_is_refused() public {
        GovernorTerms memory terms = _terms();
        terms.token = address(0xE0A);
        vm.expectRevert(abi.encodeWithSelector(AssetGovernor.TokenMissing.selector, address(0xE0A)));
        new AssetGovernor(terms);
        // A contract without a clock is none either.
        terms.token = address(authority);
        vm.expectRevert();
        new AssetGovernor(terms);
    }

    function test_terms_that_make_no_sense_are_refused() public {
        GovernorTerms memory terms = _terms();
        terms.timelockDelay = 0;
        vm.expectRevert(abi.encodeWithSelector(AssetGovernor.TimelockDelayMissing.selector));
        new AssetGovernor(terms);

        terms = _terms();
        terms.quorumPercent = 0;
        vm.expectRevert(abi.encodeWithSelector(AssetGovernor.QuorumMissing.selector));
        new AssetGovernor(terms);

        terms.quorumPercent = 101;
        vm.expectRevert(
            abi.encodeWithSelector(GovernorVotesQuorumFraction.GovernorInvalidQuorumFraction.selector, 101, 100)
        );
        new AssetGovernor(terms);

        terms = _terms();
        terms.votingPeriod = 0;
        terms.voteExtension = 0;
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInvalidVotingPeriod.selector, 0));
        new AssetGovernor(terms);

        terms = _terms();
        terms.voteExtension = 51;
        vm.expectRevert(
            abi.encodeWithSelector(
                GovernorPreventLateQuorum.GovernorPreventLateQuorumVoteExtensionTooLarge.selector, 51, 50
            )
        );
        new AssetGovernor(terms);
    }

    // the life of a proposal

    function test_a_whole_life() public {
        Call memory made = _minting();
        uint256 id = _propose(made);
        assertEq(id, governor.getProposalId(made.targets, made.values, made.datas, keccak256("do it")), "id");
        assertEq(governor.proposalProposer(id), alice, "proposer");
        assertEq(governor.proposalSnapshot(id), block.number + 5, "snapshot");
        assertEq(governor.proposalDeadline(id), block.number + 55, "deadline");
        assertEq(governor.proposalCount(), 1, "stored");
        _is(id, IGovernor.ProposalState.Pending);
        vm.expectRevert(_unexpected(id, IGovernor.ProposalState.Active));
        governor.castVote(id, FOR);

        vm.roll(governor.proposalSnapshot(id));
        _is(id, IGovernor.ProposalState.Pending);
        vm.roll(governor.proposalSnapshot(id) + 1);
        _is(id, IGovernor.ProposalState.Active);
        _vote(id, alice, FOR);
        _vote(id, BOB, ABSTAIN);
        _vote(id, CAROL, AGAINST);
        (uint256 against, uint256 for_, uint256 abstain) = governor.proposalVotes(id);
        assertTrue(against == 50 && for_ == 300 && abstain == 300, "counted");
        vm.expectRevert(_unexpected(id, IGovernor.ProposalState.Succeeded));
        governor.queue(id);

        vm.roll(governor.proposalDeadline(id) + 1);
        _is(id, IGovernor.ProposalState.Succeeded);
        vm.expectRevert(_unexpected(id, IGovernor.ProposalState.Queued));
        governor.execute(id);
        vm.prank(STRANGER);
        governor.queue(id);
        _is(id, IGovernor.ProposalState.Queued);
        assertEq(governor.proposalEta(id), block.timestamp + 2 days, "eta");

        vm.warp(governor.proposalEta(id) - 1);
        vm.expectPartialRevert(TimelockController.TimelockUnexpectedOperationState.selector);
        governor.execute(id);
        vm.warp(governor.proposalEta(id));
        vm.prank(STRANGER);
        governor.execute(id);
        _is(id, IGovernor.ProposalState.Executed);
        assertEq(token.balanceOf(STRANGER), 77, "done");
        vm.expectRevert(_unexpected(id, IGovernor.ProposalState.Queued));
        governor.execute(id);
        vm.expectRevert(_unexpected(id, IGovernor.ProposalState.Succeeded));
        governor.queue(id);
    }

    function test_a_proposal_runs_wholly_or_not() public {
        Call memory made;
        (made.targets, made.values, made.datas) = (new address[](2), new uint256[](2), new bytes[](2));
        made.description = "twice the same id";
        for (uint256 i; i < 2; ++i) {
            made.targets[i] = address(token);
            made.datas[i] = abi.encodeCall(token.mint, (STRANGER, 77, "by vote"));
        }
        uint256 id = _pass(made);
        vm.expectRevert();
        governor.execute(id);
        assertEq(token.balanceOf(STRANGER), 0, "nothing");
        _is(id, IGovernor.ProposalState.Queued);
    }

    function test_more_against_than_for_is_defeat() public {
        uint256 id = _open(_minting());
        _vote(id, alice, FOR);
        _vote(id, BOB, AGAINST);
        _vote(id, CAROL, AGAINST);
        vm.roll(governor.proposalDeadline(id) + 1);
        _is(id, IGovernor.ProposalState.Defeated);
        vm.expectRevert(_unexpected(id, IGovernor.ProposalState.Succeeded));
        governor.queue(id);
    }

    function test_as_many_against_as_for_is_defeat() public {
        uint256 id = _open(_minting());
        _vote(id, alice, FOR);
        _vote(id, BOB, AGAINST);
        vm.roll(governor.proposalDeadline(id) + 1);
        _is(id, IGovernor.ProposalState.Defeated);
    }

    function test_without_a_quorum_is_defeat() public {
        uint256 id = _open(_minting());
        _vote(id, alice, FOR);
        _vote(id, CAROL, FOR);
        vm.roll(governor.proposalDeadline(id) + 1);
        _is(id, IGovernor.ProposalState.Defeated);
    }

    function test_the_quorum_is_rounded_up_and_never_nothing() public {
        GovernanceToken small = new GovernanceToken(GovernanceTerms("V", "V", 0, address(authority), 1e9, "asset"));
        GovernorTerms memory terms = _terms();
        (terms.token, terms.quorumPercent, terms.proposalThreshold) = (address(small), 10, 0);
        AssetGovernor other = new AssetGovernor(terms);
        vm.roll(110);
        small.mint(alice, 9, "nine");
        vm.roll(120);
        small.mint(alice, 2, "eleven");
        vm.roll(130);
        assertEq(other.quorum(105), 1, "of no supply");
        assertEq(other.quorum(115), 1, "of nine");
        assertEq(other.quorum(125), 2, "of eleven");
        Call memory made = _minting();
        uint256 id = other.propose(made.targets, made.values, made.datas, made.description);
        vm.roll(other.proposalDeadline(id) + 1);
        assertEq(uint256(other.state(id)), uint256(IGovernor.ProposalState.Defeated), "without a vote");
    }

    function test_votes_against_make_no_quorum() public {
        uint256 id = _open(_minting());
        _vote(id, alice, FOR);
        _vote(id, CAROL, AGAINST);
        vm.roll(governor.proposalDeadline(id) + 1);
        _is(id, IGovernor.ProposalState.Defeated);
    }

    function test_a_late_quorum_extends_the_vote() public {
        uint256 id = _open(_minting());
        uint256 deadline = governor.proposalDeadline(id);
        _vote(id, CAROL, FOR);
        vm.roll(deadline);
        _vote(id, alice, FOR);
        assertEq(governor.proposalDeadline(id), deadline, "no quorum yet");
        vm.prank(BOB);
        vm.expectEmit(address(governor));
        emit GovernorPreventLateQuorum.ProposalExtended(id, uint64(deadline + 20));
        governor.castVote(id, ABSTAIN);
        assertEq(governor.proposalDeadline(id), deadline + 20, "extended");
        vm.roll(deadline + 20);
        _is(id, IGovernor.ProposalState.Active);
        vm.roll(deadline + 21);
        _is(id, IGovernor.ProposalState.Succeeded);
    }

    function test_an_early_quorum_extends_nothing() public {
        uint256 id = _open(_minting());
        uint256 deadline = governor.proposalDeadline(id);
        _vote(id, alice, FOR);
        _vote(id, BOB, FOR);
        assertEq(governor.proposalDeadline(id), deadline, "as it was");
        vm.roll(deadline);
        _vote(id, CAROL, FOR);
        assertEq(governor.proposalDeadline(id), deadline, "the quorum was there before");
    }

    function test_only_the_proposer_cancels_and_only_before_the_vote() public {
        uint256 id = _propose(_minting());
        vm.expectRevert(
            abi.encodeWithSelector(IGovernor.GovernorUnableToCancel.selector, id, STRANGER)
        );
        vm.prank(STRANGER);
        governor.cancel(id);
        vm.prank(alice);
        governor.cancel(id);
        _is(id, IGovernor.ProposalState.Canceled);
        vm.roll(block.number + 6);
        vm.expectRevert(_unexpected(id, IGovernor.ProposalState.Active));
        governor.castVote(id, FOR);

        Call memory second = _minting();
        second.description = "again";
        id = _open(second);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorUnableToCancel.selector, id, alice));
        vm.prank(alice);
        governor.cancel(id);
    }

    function test_a_proposer_needs_votes() public {
        Call memory made = _minting();
        vm.expectRevert(
            abi.encodeWithSelector(IGovernor.GovernorInsufficientProposerVotes.selector, STRANGER, 0, 50)
        );
        vm.prank(STRANGER);
        governor.propose(made.targets, made.values, made.datas, made.description);
        vm.prank(CAROL);
        governor.propose(made.targets, made.values, made.datas, made.description);
    }

    function test_a_proposal_is_made_once() public {
        Call memory made = _minting();
        uint256 id = _propose(made);
        vm.expectRevert(
            abi.encodeWithSelector(
                IGovernor.GovernorUnexpectedProposalState.selector, id, governor.state(id), bytes32(0)
            )
        );
        vm.prank(alice);
        governor.propose(made.targets, made.values, made.datas, made.description);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInvalidProposalLength.selector, 0, 0, 0));
        vm.prank(alice);
        governor.propose(new address[](0), new uint256[](0), new bytes[](0), "");
    }

    function test_nobody_takes_a_named_proposers_proposal() public {
        Call memory made = _minting();
        made.description = string.concat("do it #proposer=", Strings.toHexString(alice));
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorRestrictedProposer.selector, BOB));
        vm.prank(BOB);
        governor.propose(made.targets, made.values, made.datas, made.description);
        _propose(made);
    }

    function test_an_unknown_proposal_is_told_so(uint256 id) public {
        bytes memory reason = abi.encodeWithSelector(IGovernor.GovernorNonexistentProposal.selector, id);
        vm.expectRevert(reason);
        governor.state(id);
        vm.expectRevert(reason);
        governor.queue(id);
        vm.expectRevert(reason);
        governor.execute(id);
        vm.expectRevert(reason);
        governor.cancel(id);
        vm.expectRevert(reason);
        governor.castVote(id, FOR);
    }

    // votes

    function test_a_vote_counts_once_and_as_one_of_three() public {
        uint256 id = _open(_minting());
        _vote(id, alice, FOR);
        assertTrue(governor.hasVoted(id, alice), "voted");
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorAlreadyCastVote.selector, alice));
        vm.prank(alice);
        governor.castVote(id, AGAINST);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInvalidVoteType.selector));
        vm.prank(BOB);
        governor.castVote(id, 3);
    }

    function test_units_vote_where_they_were_at_the_snapshot() public {
        uint256 id = _open(_minting());
        vm.prank(STRANGER);
        token.delegate(STRANGER);
        vm.prank(alice);
        token.transfer(STRANGER, 300);
        vm.roll(block.number + 1);
        _vote(id, STRANGER, FOR);
        _vote(id, alice, FOR);
        (, uint256 for_,) = governor.proposalVotes(id);
        assertEq(for_, 300, "counted once");
    }

    function _ballot(
        AssetGovernor to,
        uint256 id,
        uint8 support,
        address voter,
        uint256 nonce
    ) private view returns (bytes memory) {
        (, string memory name, string memory version, uint256 chain, address self,,) = to.eip712Domain();
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chain,
                self
            )
        );
        bytes32 struct_ = keccak256(abi.encode(governor.BALLOT_TYPEHASH(), id, support, voter, nonce));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, keccak256(abi.encodePacked(hex"1901", domain, struct_)));
        return abi.encodePacked(r, s, v);
    }

    function test_a_signed_vote_is_sent_by_anyone_once() public {
        uint256 id = _open(_minting());
        bytes memory signature = _ballot(governor, id, FOR, alice, 0);
        bytes memory reason = abi.encodeWithSelector(IGovernor.GovernorInvalidSignature.selector, alice);
        vm.expectRevert(reason);
        governor.castVoteBySig(id, AGAINST, alice, signature);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInvalidSignature.selector, BOB));
        governor.castVoteBySig(id, FOR, BOB, signature);
        vm.prank(STRANGER);
        governor.castVoteBySig(id, FOR, alice, signature);
        (, uint256 for_,) = governor.proposalVotes(id);
        assertEq(for_, 300, "counted");
        assertEq(governor.nonces(alice), 1, "the nonce");
        vm.expectRevert(reason);
        governor.castVoteBySig(id, FOR, alice, signature);
    }

    function test_a_vote_signed_for_another_governor_is_none() public {
        AssetGovernor other = new AssetGovernor(_terms());
        uint256 id = _open(_minting());
        bytes memory signature = _ballot(other, id, FOR, alice, 0);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInvalidSignature.selector, alice));
        governor.castVoteBySig(id, FOR, alice, signature);
    }

    function test_a_contract_votes_by_its_owners_signature() public {
        Wallet wallet = new Wallet(alice);
        vm.prank(alice);
        token.delegate(address(wallet));
        vm.roll(block.number + 1);
        uint256 id = _propose2(_minting());
        vm.roll(governor.proposalSnapshot(id) + 1);
        governor.castVoteBySig(id, FOR, address(wallet), _ballot(governor, id, FOR, address(wallet), 0));
        (, uint256 for_,) = governor.proposalVotes(id);
        assertEq(for_, 300, "counted");
    }

    function _propose2(Call memory made) private returns (uint256) {
        vm.prank(BOB);
        return governor.propose(made.targets, made.values, made.datas, made.description);
    }

    function test_voters_decide_by_their_sum(uint96[3] memory weights, uint8[3] memory ways) public {
        GovernanceToken votes =
            new GovernanceToken(GovernanceTerms("V", "V", 0, address(authority), type(uint208).max, 0));
        GovernorTerms memory terms = _terms();
        (terms.token, terms.proposalThreshold) = (address(votes), 0);
        AssetGovernor own = new AssetGovernor(terms);
        uint256[3] memory sums;
        uint256 supply;
        for (uint160 i; i < 3; ++i) {
            ways[i] %= 3;
            _give(votes, address(0x6000 + i), weights[i]);
            sums[ways[i]] += weights[i];
            supply += weights[i];
        }
        vm.roll(block.number + 1);
        Call memory made = _minting();
        uint256 id = own.propose(made.targets, made.values, made.datas, made.description);
        vm.roll(own.proposalSnapshot(id) + 1);
        for (uint160 i; i < 3; ++i) {
            vm.prank(address(0x6000 + i));
            own.castVote(id, ways[i]);
        }
        vm.roll(own.proposalDeadline(id) + 1);
        bool passed = sums[FOR] > sums[AGAINST] && sums[FOR] + sums[ABSTAIN] >= supply * 40 / 100;
        assertEq(
            uint256(own.state(id)),
            uint256(passed ? IGovernor.ProposalState.Succeeded : IGovernor.ProposalState.Defeated),
            "decided"
        );
    }

    function _give(GovernanceToken votes, address to, uint256 amount) private {
        votes.mint(to, amount, bytes32(uint256(uint160(to))));
        vm.prank(to);
        votes.delegate(to);
    }

    // the governor over itself and its timelock

    function test_the_rules_change_by_a_vote_only() public {
        bytes memory reason = abi.encodeWithSelector(IGovernor.GovernorOnlyExecutor.selector, alice);
        vm.startPrank(alice);
        vm.expectRevert(reason);
        governor.setVotingDelay(1);
        vm.expectRevert(reason);
        governor.setVotingPeriod(1);
        vm.expectRevert(reason);
        governor.setProposalThreshold(0);
        vm.expectRevert(reason);
        governor.updateQuorumNumerator(1);
        vm.expectRevert(reason);
        governor.setLateQuorumVoteExtension(0);
        vm.expectRevert(reason);
        governor.updateTimelock(TimelockController(payable(alice)));
        vm.expectRevert(reason);
        governor.relay(alice, 0, "");
        vm.stopPrank();

        uint256 id = _pass(_call(address(governor), 0, abi.encodeCall(governor.setVotingDelay, (9))));
        governor.execute(id);
        assertEq(governor.votingDelay(), 9, "by a vote");
    }

    function test_not_even_a_vote_takes_the_quorum_away() public {
        uint256 id = _pass(_call(address(governor), 0, abi.encodeCall(governor.updateQuorumNumerator, (0))));
        vm.expectRevert(abi.encodeWithSelector(AssetGovernor.QuorumMissing.selector));
        governor.execute(id);
    }

    function test_a_new_quorum_holds_for_new_proposals_only() public {
        Call memory change = _call(address(governor), 0, abi.encodeCall(governor.updateQuorumNumerator, (60)));
        uint256 id = _pass(change);
        uint256 before = block.number;
        vm.roll(before + 10);
        governor.execute(id);
        vm.roll(before + 20);
        assertEq(governor.quorum(before), 400, "then");
        assertEq(governor.quorum(before + 10), 600, "now");
    }

    function test_the_governor_obeys_only_what_runs_through_it() public {
        // The timelock's execution is open; run around the governor, a call to the governor itself is refused.
        bytes memory data = abi.encodeCall(governor.setVotingDelay, (9));
        Call memory made = _call(address(governor), 0, data);
        _pass(made);
        bytes32 salt = bytes20(address(governor)) ^ keccak256(bytes(made.description));
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", Panic.EMPTY_ARRAY_POP));
        timelock.executeBatch(made.targets, made.values, made.datas, 0, salt);
        assertEq(governor.votingDelay(), 5, "unchanged");
    }

    function test_a_call_run_in_the_timelock_itself_counts_as_executed() public {
        Call memory made = _minting();
        uint256 id = _pass(made);
        bytes32 salt = bytes20(address(governor)) ^ keccak256(bytes(made.description));
        vm.prank(STRANGER);
        timelock.executeBatch(made.targets, made.values, made.datas, 0, salt);
        assertEq(token.balanceOf(STRANGER), 77, "done");
        _is(id, IGovernor.ProposalState.Executed);
        vm.expectRevert(_unexpected(id, IGovernor.ProposalState.Queued));
        governor.execute(id);
    }

    function test_a_call_that_calls_back_is_not_run_twice() public {
        Call memory made = _minting();
        made.targets[0] = address(this);
        made.datas[0] = abi.encodeCall(this.again, ());
        uint256 id = _pass(made);
        _running = id;
        governor.execute(id);
        assertEq(_entries, 1, "once");
        _is(id, IGovernor.ProposalState.Executed);
    }

    uint256 private _running;
    uint256 private _entries;

    function again() external {
        ++_entries;
        try governor.execute(_running) {
            ++_entries;
        } catch {}
    }

    function test_money_belongs_to_the_timelock() public {
        vm.deal(address(this), 10 ether);
        (bool taken,) = address(governor).call{value: 1 ether}("");
        assertEq(taken, false, "not the governor");
        (taken,) = address(timelock).call{value: 2 ether}("");
        assertTrue(taken, "the timelock");
        uint256 id = _pass(_call(STRANGER, 2 ether, ""));
        governor.execute(id);
        assertEq(STRANGER.balance, 2 ether, "by a vote");
    }

    function test_the_timelock_is_administrated_by_a_vote() public {
        uint256 id = _pass(_call(address(timelock), 0, abi.encodeCall(timelock.updateDelay, (5 days))));
        governor.execute(id);
        assertEq(timelock.getMinDelay(), 5 days, "delay");
    }

    function test_what_is_stored_is_what_was_proposed() public {
        Call memory made = _minting();
        uint256 id = _propose(made);
        (uint256 stored, address[] memory targets, uint256[] memory values, bytes[] memory datas, bytes32 hash) =
            governor.proposalDetailsAt(0);
        assertEq(stored, id, "id");
        assertEq(targets[0], made.targets[0], "target");
        assertEq(values[0], made.values[0], "value");
        assertEq(keccak256(datas[0]), keccak256(made.datas[0]), "data");
        assertEq(hash, keccak256(bytes(made.description)), "description");
    }
}
