// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {Governor} from "@openzeppelin/contracts/governance/Governor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {GovernorCountingSimple} from "@openzeppelin/contracts/governance/extensions/GovernorCountingSimple.sol";
import {GovernorPreventLateQuorum} from "@openzeppelin/contracts/governance/extensions/GovernorPreventLateQuorum.sol";
import {GovernorSettings} from "@openzeppelin/contracts/governance/extensions/GovernorSettings.sol";
import {GovernorStorage} from "@openzeppelin/contracts/governance/extensions/GovernorStorage.sol";
import {GovernorTimelockControl} from "@openzeppelin/contracts/governance/extensions/GovernorTimelockControl.sol";
import {GovernorVotes} from "@openzeppelin/contracts/governance/extensions/GovernorVotes.sol";
import {GovernorVotesQuorumFraction} from
    "@openzeppelin/contracts/governance/extensions/GovernorVotesQuorumFraction.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IERC6372} from "@openzeppelin/contracts/interfaces/IERC6372.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @notice What a governor is made with. A vote can change all but the name and the token.
/// @param name The governor's name, of any length.
/// @param token The votes: a contract of ERC-5805 that counts time in block numbers.
/// @param votingDelay Blocks from a proposal to the count of who may vote.
/// @param votingPeriod Blocks of voting; not zero.
/// @param proposalThreshold Votes that a proposer needs.
/// @param quorumPercent Votes for and abstentions together must reach this share of the supply: 1 to 100; the
/// number is rounded up.
/// @param voteExtension Blocks of voting that remain at least once the quorum is reached; at most the voting period.
/// @param timelockDelay Seconds between the queueing of a passed proposal and its execution; not zero.
struct GovernorTerms {
    string name;
    address token;
    uint48 votingDelay;
    uint32 votingPeriod;
    uint256 proposalThreshold;
    uint256 quorumPercent;
    uint48 voteExtension;
    uint256 timelockDelay;
}

/// @title The holders' votes on one asset, and the timelock that carries them out.
/// @notice A proposal is voted on by block number, passes with a quorum and more votes for than against, waits in the
/// timelock, and is then executed by anyone. The timelock is made by the constructor: only this governor proposes and
/// cancels there, and nobody but the timelock itself, so a passed proposal, ever administrates it.
/// @dev Owners give roles and property to `timelock()`, not to this contract. The EIP-712 domain is ("AssetGovernor",
/// "1", chain id, this contract).
// slither-disable-next-line unimplemented-functions the sibling extensions implement them; solc would refuse otherwise
contract AssetGovernor is
    Governor,
    GovernorSettings,
    GovernorCountingSimple,
    GovernorStorage,
    GovernorVotes,
    GovernorVotesQuorumFraction,
    GovernorPreventLateQuorum,
    GovernorTimelockControl
{
    /// @dev A constant, because OpenZeppelin's EIP712 keeps 31 bytes at most and a governor's name may be longer.
    string private constant DOMAIN_NAME = "AssetGovernor";

    // slither-disable-next-line shadowing-state OpenZeppelin's two are private and of other meaning
    string private _name;

    /// @notice A governor without votes could never decide anything.
    /// @param token The address without code.
    error TokenMissing(address token);

    /// @notice The token does not count time in block numbers, as the delays of this governor do.
    /// @param mode What the token says of its clock (ERC-6372).
    error ClockModeUnsupported(string mode);

    /// @notice With a quorum of nothing a single vote could decide while everyone sleeps.
    error QuorumMissing();

    /// @notice Without a delay nobody could leave or object before a decision takes effect.
    error TimelockDelayMissing();

    /// @notice Makes the governor and its timelock.
    /// @param terms The rules to begin with.
    constructor(GovernorTerms memory terms)
        Governor(DOMAIN_NAME)
        GovernorSettings(terms.votingDelay, terms.votingPeriod, terms.proposalThreshold)
        GovernorVotes(_countedInBlocks(terms.token))
        GovernorVotesQuorumFraction(terms.quorumPercent)
        GovernorPreventLateQuorum(terms.voteExtension)
        GovernorTimelockControl(_makeTimelock(terms.timelockDelay))
    {
        _name = terms.name;
    }

    /// @notice The governor's name.
    /// @return The name given at deployment; the EIP-712 domain has another, `eip712Domain()` tells it.
    function name() public view override returns (string memory) {
        return _name;
    }

    /// @notice How many votes a proposer needs.
    /// @return Votes at the block before the proposal.
    function proposalThreshold() public view override(Governor, GovernorSettings) returns (uint256) {
        return super.proposalThreshold();
    }

    /// @notice How many votes for and abstentions a proposal needs together. Rounded up, and one at least, so that
    /// however small the supply no proposal passes without a vote.
    /// @param timepoint A block in the past.
    /// @return Votes; the share in force at that block of the supply at that block.
    function quorum(
        uint256 timepoint
    ) public view override(Governor, GovernorVotesQuorumFraction) returns (uint256) {
        uint256 supply = token().getPastTotalSupply(timepoint);
        uint256 share = Math.mulDiv(supply, quorumNumerator(timepoint), quorumDenominator(), Math.Rounding.Ceil);
        return Math.max(share, 1);
    }

    /// @notice When the voting on a proposal ends.
    /// @param proposalId The proposal.
    /// @return The last block at which a vote counts, moved back if the quorum was reached late.
    function proposalDeadline(
        uint256 proposalId
    ) public view override(Governor, GovernorPreventLateQuorum) returns (uint256) {
        return super.proposalDeadline(proposalId);
    }

    /// @notice Where a proposal stands.
    /// @param proposalId The proposal.
    /// @return Its state; a proposal executed or cancelled in the timelock itself is told so, too.
    function state(
        uint256 proposalId
    ) public view override(Governor, GovernorTimelockControl) returns (ProposalState) {
        return super.state(proposalId);
    }

    /// @notice Whether a passed proposal has to wait in the timelock.
    /// @param proposalId The proposal.
    /// @return Always true.
    function proposalNeedsQueuing(
        uint256 proposalId
    ) public view override(Governor, GovernorTimelockControl) returns (bool) {
        return super.proposalNeedsQueuing(proposalId);
    }

    function _updateQuorumNumerator(uint256 newQuorumNumerator) internal override {
        require(newQuorumNumerator != 0, QuorumMissing());
        super._updateQuorumNumerator(newQuorumNumerator);
    }

    function _propose(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        string memory description,
        address proposer
    ) internal override(Governor, GovernorStorage) returns (uint256) {
        return super._propose(targets, values, calldatas, description, proposer);
    }

    function _tallyUpdated(uint256 proposalId) internal override(Governor, GovernorPreventLateQuorum) {
        super._tallyUpdated(proposalId);
    }

    function _queueOperations(
        uint256 proposalId,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint48) {
        return super._queueOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _executeOperations(
        uint256 proposalId,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) {
        super._executeOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _cancel(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint256) {
        return super._cancel(targets, values, calldatas, descriptionHash);
    }

    function _executor() internal view override(Governor, GovernorTimelockControl) returns (address) {
        return super._executor();
    }

    /// @dev Runs before the bases are made, because one of them already reads the token's clock.
    function _countedInBlocks(address token_) private view returns (IVotes) {
        require(token_.code.length != 0, TokenMissing(token_));
        string memory mode = IERC6372(token_).CLOCK_MODE();
        require(keccak256(bytes(mode)) == keccak256("mode=blocknumber&from=default"), ClockModeUnsupported(mode));
        return IVotes(token_);
    }

    /// @dev Governor and timelock come from one transaction, so there is no moment at which somebody administrates
    /// the timelock in between. Only the constructor comes here, so the timelock's creation code is not in the
    /// runtime code.
    function _makeTimelock(uint256 delay) private returns (TimelockController) {
        require(delay != 0, TimelockDelayMissing());
        address[] memory proposers = new address[](1);
        address[] memory executors = new address[](1);
        proposers[0] = address(this);
        // The zero address among the executors opens execution to everyone.
        return new TimelockController(delay, proposers, executors, address(0));
    }
}
