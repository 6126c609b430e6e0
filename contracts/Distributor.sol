// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Operations} from "./parts/Operations.sol";
import {AuthorityMissing} from "./parts/TokenTerms.sol";

/// @title Pays a sum out to the holders of a record date.
/// @notice A distribution holds its whole sum from the start and the root of a Merkle tree of who gets how much.
/// Holders claim their share, or anyone brings it to them, many at a time. Each distribution pays out of its own
/// money only.
/// @dev A leaf is keccak256(keccak256(abi.encode(uint256 index, address account, uint256 amount))); nodes are hashed
/// in sorted pairs, which OpenZeppelin's tree library does by default. Hashing a leaf twice keeps an inner node,
/// which is 64 bytes hashed once, from passing for one.
contract Distributor is AccessManaged, Operations, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    struct Distribution {
        address creator;
        uint64 deadline;
        bool closed;
        address currency;
        bytes32 root;
        uint256 remainder;
        mapping(uint256 word => uint256 bits) claimed;
    }

    mapping(bytes32 distributionId => Distribution) private _distributions;

    /// @notice A sum was paid in for the holders of `token` at `recordBlock`.
    /// @param distributionId The distribution's id.
    /// @param token The token whose holders get the sum.
    /// @param currency The ERC-20 contract in which they get it.
    /// @param creator Who paid it in and gets what nobody claims.
    /// @param total The sum, in the currency's base units.
    /// @param root The Merkle root of who gets how much.
    /// @param recordBlock The block whose holders they are.
    /// @param recordBlockHash That block's hash.
    /// @param capTableDigest A digest of the list of holders, exclusions and rounding that the root was made from.
    /// @param deadline The first second at which the distribution may be closed.
    event DistributionCreated(
        bytes32 indexed distributionId,
        address indexed token,
        address indexed currency,
        address creator,
        uint256 total,
        bytes32 root,
        uint64 recordBlock,
        bytes32 recordBlockHash,
        bytes32 capTableDigest,
        uint64 deadline
    );

    /// @notice A share was paid out.
    /// @param distributionId The distribution.
    /// @param account Who got it.
    /// @param index The share's place in the list.
    /// @param amount The share, in the currency's base units.
    event Claimed(bytes32 indexed distributionId, address indexed account, uint256 index, uint256 amount);

    /// @notice The currency refused to pay `account`, who may still claim, until the distribution is closed.
    /// @param distributionId The distribution.
    /// @param account Whom the currency refused.
    /// @param index The share's place in the list.
    /// @param amount The share, in the currency's base units.
    event PayeeSkipped(bytes32 indexed distributionId, address indexed account, uint256 index, uint256 amount);

    /// @notice The distribution pays no more.
    /// @param distributionId The distribution.
    /// @param creator Who got the remainder.
    /// @param remainder What nobody claimed, in the currency's base units.
    event Closed(bytes32 indexed distributionId, address indexed creator, uint256 remainder);

    /// @notice A distribution needs an id other than zero.
    error DistributionIdMissing();

    /// @notice The id was used before; it never names another distribution.
    /// @param distributionId The id.
    error DistributionExists(bytes32 distributionId);

    /// @notice There is no such distribution.
    /// @param distributionId The id.
    error DistributionUnknown(bytes32 distributionId);

    /// @notice The distribution is closed.
    /// @param distributionId The id.
    error DistributionClosed(bytes32 distributionId);

    /// @notice A distribution of nothing, or to nobody.
    error DistributionEmpty();

    /// @notice The deadline is not in the future.
    /// @param deadline The deadline given.
    error DeadlinePassed(uint64 deadline);

    /// @notice The distribution stays open until its deadline.
    /// @param deadline The first second at which it may be closed.
    error DeadlineAhead(uint64 deadline);

    /// @notice The chain knows the record block by another hash, so the list was made on a block that is gone.
    /// @param recordBlock The record block.
    /// @param given The hash given.
    /// @param actual The chain's hash.
    error RecordBlockMismatch(uint64 recordBlock, bytes32 given, bytes32 actual);

    /// @notice The currency moved another amount than asked for, as one does that keeps a fee.
    /// @param expected What should have moved.
    /// @param actual What moved.
    error AmountNotExact(uint256 expected, uint256 actual);

    /// @notice The share is not in the list.
    /// @param distributionId The distribution.
    /// @param index The share's place in the list.
    /// @param account Who was to get it.
    /// @param amount The share.
    error ProofInvalid(bytes32 distributionId, uint256 index, address account, uint256 amount);

    /// @notice The share was paid out before.
    /// @param distributionId The distribution.
    /// @param index The share's place in the list.
    error AlreadyClaimed(bytes32 distributionId, uint256 index);

    /// @notice The shares in the list add up to more than the sum paid in.
    /// @param distributionId The distribution.
    /// @param amount The share that is not covered.
    /// @param remainder What is left.
    error RemainderExceeded(bytes32 distributionId, uint256 amount, uint256 remainder);

    /// @notice The lists differ in length.
    /// @param first The length of the indexes.
    /// @param other The first length that differs from it.
    error LengthMismatch(uint256 first, uint256 other);

    /// @notice Makes the contract.
    /// @param authority_ The contract that decides who may create and close distributions.
    constructor(address authority_) AccessManaged(authority_) {
        require(authority_.code.length != 0, AuthorityMissing());
    }

    /// @notice Opens a distribution and takes its whole sum from the caller, who must have approved this contract.
    /// @param distributionId The distribution's id; not zero, never used before.
    /// @param token The token whose holders get the sum; told, not asked.
    /// @param currency The ERC-20 contract in which they get it; one that moves exact amounts.
    /// @param total The sum, in the currency's base units; not zero.
    /// @param root The Merkle root of who gets how much; not zero.
    /// @param recordBlock The block whose holders they are.
    /// @param recordBlockHash That block's hash; compared as long as the chain still knows it (256 blocks).
    /// @param capTableDigest A digest of the list that the root was made from.
    /// @param deadline The first second at which the distribution may be closed; in the future.
    /// @param operationId The id to burn; not zero.
    function create(
        bytes32 distributionId,
        address token,
        address currency,
        uint256 total,
        bytes32 root,
        uint64 recordBlock,
        bytes32 recordBlockHash,
        bytes32 capTableDigest,
        uint64 deadline,
        bytes32 operationId
    ) external restricted once(operationId) nonReentrant {
        require(total != 0 && root != 0, DistributionEmpty());
        _requireBlock(recordBlock, recordBlockHash);
        _open(distributionId, currency, total, root, deadline);
        _pull(currency, total);
        emit DistributionCreated(
            distributionId,
            token,
            currency,
            _msgSender(),
            total,
            root,
            recordBlock,
            recordBlockHash,
            capTableDigest,
            deadline
        );
    }

    /// @notice Pays the caller's share. Open until the distribution is closed, also after its deadline.
    /// @param distributionId The distribution.
    /// @param index The share's place in the list.
    /// @param amount The share, in the currency's base units.
    /// @param proof The way from the leaf to the root.
    function claim(
        bytes32 distributionId,
        uint256 index,
        uint256 amount,
        bytes32[] calldata proof
    ) external nonReentrant {
        Distribution storage distribution = _opened(distributionId);
        address account = _msgSender();
        _requireShare(distribution, distributionId, index, account, amount, proof);
        require(_book(distribution, distributionId, index, amount), AlreadyClaimed(distributionId, index));
        IERC20 currency = IERC20(distribution.currency);
        uint256 balance = currency.balanceOf(address(this));
        currency.safeTransfer(account, amount);
        _requirePaid(currency, balance, amount);
        emit Claimed(distributionId, account, index, amount);
    }

    /// @notice Brings shares to their holders. A share that was paid before is passed over, so nobody spoils the
    /// others' payment by claiming first; a holder whom the currency refuses is skipped and may claim later.
    /// @param distributionId The distribution.
    /// @param indexes The shares' places in the list.
    /// @param accounts Who gets each.
    /// @param amounts How much each is, in the currency's base units.
    /// @param proofs The way from each leaf to the root.
    function claimFor(
        bytes32 distributionId,
        uint256[] calldata indexes,
        address[] calldata accounts,
        uint256[] calldata amounts,
        bytes32[][] calldata proofs
    ) external nonReentrant {
        require(accounts.length == indexes.length, LengthMismatch(indexes.length, accounts.length));
        require(amounts.length == indexes.length, LengthMismatch(indexes.length, amounts.length));
        require(proofs.length == indexes.length, LengthMismatch(indexes.length, proofs.length));
        Distribution storage distribution = _opened(distributionId);
        IERC20 currency = IERC20(distribution.currency);
        uint256 balance = currency.balanceOf(address(this));
        uint256 paid = 0;
        for (uint256 i; i < indexes.length; ++i) {
            _requireShare(distribution, distributionId, indexes[i], accounts[i], amounts[i], proofs[i]);
            paid += _pay(distribution, distributionId, indexes[i], accounts[i], amounts[i]);
        }
        _requirePaid(currency, balance, paid);
    }

    /// @notice Ends a distribution at or after its deadline and gives what nobody claimed back to its creator.
    /// @param distributionId The distribution.
    /// @param operationId The id to burn; not zero.
    function close(bytes32 distributionId, bytes32 operationId) external restricted once(operationId) nonReentrant {
        Distribution storage distribution = _opened(distributionId);
        require(block.timestamp >= distribution.deadline, DeadlineAhead(distribution.deadline));
        address creator = distribution.creator;
        uint256 remainder = distribution.remainder;
        distribution.closed = true;
        distribution.remainder = 0;
        emit Closed(distributionId, creator, remainder);
        if (remainder != 0) {
            IERC20 currency = IERC20(distribution.currency);
            uint256 balance = currency.balanceOf(address(this));
            currency.safeTransfer(creator, remainder);
            _requirePaid(currency, balance, remainder);
        }
    }

    /// @notice What the contract keeps about a distribution.
    /// @param distributionId The id asked about.
    /// @return creator Who paid the sum in; zero if there is no such distribution.
    /// @return currency The ERC-20 contract in which it pays.
    /// @return root The Merkle root.
    /// @return deadline The first second at which it may be closed.
    /// @return closed Whether it was closed.
    /// @return remainder What is left, in the currency's base units.
    function distributionOf(
        bytes32 distributionId
    )
        external
        view
        returns (address creator, address currency, bytes32 root, uint64 deadline, bool closed, uint256 remainder)
    {
        Distribution storage distribution = _distributions[distributionId];
        return (
            distribution.creator,
            distribution.currency,
            distribution.root,
            distribution.deadline,
            distribution.closed,
            distribution.remainder
        );
    }

    /// @notice Whether a share was paid out.
    /// @param distributionId The distribution.
    /// @param index The share's place in the list.
    /// @return True if it was.
    function isClaimed(bytes32 distributionId, uint256 index) external view returns (bool) {
        return _distributions[distributionId].claimed[index >> 8] & (1 << (index & 255)) != 0;
    }

    function _open(bytes32 distributionId, address currency, uint256 total, bytes32 root, uint64 deadline) private {
        require(distributionId != 0, DistributionIdMissing());
        require(deadline > block.timestamp, DeadlinePassed(deadline));
        Distribution storage distribution = _distributions[distributionId];
        require(distribution.creator == address(0), DistributionExists(distributionId));
        distribution.creator = _msgSender();
        distribution.deadline = deadline;
        distribution.currency = currency;
        distribution.root = root;
        distribution.remainder = total;
    }

    /// @dev What arrives is measured: a currency that keeps a fee would leave the last payees without their share.
    function _pull(address currency, uint256 total) private {
        uint256 balance = IERC20(currency).balanceOf(address(this));
        IERC20(currency).safeTransferFrom(_msgSender(), address(this), total);
        uint256 received = IERC20(currency).balanceOf(address(this)) - balance;
        // slither-disable-next-line incorrect-equality a fee or a gift in the same call must fail it
        require(received == total, AmountNotExact(total, received));
    }

    /// @dev Returns what was paid: nothing for a share that was paid before or that the currency refused to pay.
    function _pay(
        Distribution storage distribution,
        bytes32 distributionId,
        uint256 index,
        address account,
        uint256 amount
    ) private returns (uint256) {
        if (!_book(distribution, distributionId, index, amount)) return 0;
        if (IERC20(distribution.currency).trySafeTransfer(account, amount)) {
            emit Claimed(distributionId, account, index, amount);
            return amount;
        }
        distribution.claimed[index >> 8] &= ~(1 << (index & 255));
        distribution.remainder += amount;
        emit PayeeSkipped(distributionId, account, index, amount);
        return 0;
    }

    /// @dev Marks a share as paid and takes it from the remainder; false if it was paid before.
    function _book(
        Distribution storage distribution,
        bytes32 distributionId,
        uint256 index,
        uint256 amount
    ) private returns (bool) {
        uint256 word = distribution.claimed[index >> 8];
        uint256 bit = 1 << (index & 255);
        if (word & bit != 0) return false;
        uint256 remainder = distribution.remainder;
        require(amount <= remainder, RemainderExceeded(distributionId, amount, remainder));
        distribution.claimed[index >> 8] = word | bit;
        distribution.remainder = remainder - amount;
        return true;
    }

    function _opened(bytes32 distributionId) private view returns (Distribution storage distribution) {
        distribution = _distributions[distributionId];
        require(distribution.creator != address(0), DistributionUnknown(distributionId));
        require(!distribution.closed, DistributionClosed(distributionId));
    }

    function _requireShare(
        Distribution storage distribution,
        bytes32 distributionId,
        uint256 index,
        address account,
        uint256 amount,
        bytes32[] calldata proof
    ) private view {
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(index, account, amount))));
        require(
            MerkleProof.verifyCalldata(proof, distribution.root, leaf),
            ProofInvalid(distributionId, index, account, amount)
        );
    }

    /// @dev What leaves is measured, too: a fee charged on top would be paid with another distribution's money.
    function _requirePaid(IERC20 currency, uint256 balance, uint256 amount) private view {
        uint256 paid = balance - currency.balanceOf(address(this));
        // slither-disable-next-line incorrect-equality a fee or a gift in the same call must fail it
        require(paid == amount, AmountNotExact(amount, paid));
    }

    function _requireBlock(uint64 recordBlock, bytes32 recordBlockHash) private view {
        bytes32 actual = blockhash(recordBlock);
        require(
            recordBlock < block.number && (actual == 0 || actual == recordBlockHash),
            RecordBlockMismatch(recordBlock, recordBlockHash, actual)
        );
    }
}
