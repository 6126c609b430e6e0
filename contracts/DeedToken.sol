// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721Royalty} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721Royalty.sol";
import {ERC721URIStorage} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721URIStorage.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {DeedAuthorizations} from "./parts/DeedAuthorizations.sol";
import {DeedTerms} from "./parts/DeedTerms.sol";
import {IERC7943NonFungible} from "./parts/IERC7943NonFungible.sol";
import {Operations} from "./parts/Operations.sol";
import {Regulated} from "./parts/Regulated.sol";
import {Restriction, Restrictions, TransferRestricted} from "./parts/Restrictions.sol";
import {AuthorityMissing} from "./parts/TokenTerms.sol";

/// @title Deeds: things of one asset of which each is unlike the others.
/// @notice ERC-721 with a document behind each deed, royalties (ERC-2981), signed transfers and approvals, freezing and
/// enforcement (ERC-7943), and a compliance registry, for which a deed is an amount of 1. Soulbound deeds (ERC-5192)
/// stay where they are issued, but for enforcement.
/// @dev Not upgradeable. The EIP-712 domain is ("DeedToken", "1", chain id, this contract). The rules stand in `_move`,
/// which each public transfer passes once, and not in `_update`, which enforcement passes too: so no flag tells the two
/// apart, and none can be left set by a call that comes back.
// slither-disable-next-line missing-inheritance the registry asks three views of a token, not a common type
contract DeedToken is
    ERC721URIStorage,
    ERC721Royalty,
    DeedAuthorizations,
    Pausable,
    AccessManaged,
    Operations,
    Regulated,
    IERC7943NonFungible
{
    bytes32 private constant TRANSFER_TYPEHASH =
        keccak256(
            "TransferWithAuthorization(address from,address to,uint256 deedId,uint256 validAfter,uint256 validBefore,"
            "bytes32 nonce)"
        );
    bytes32 private constant APPROVE_TYPEHASH =
        keccak256(
            "ApproveWithAuthorization(address owner,address spender,uint256 deedId,uint256 validAfter,"
            "uint256 validBefore,bytes32 nonce)"
        );
    // ERC-5192's interface is `locked` and two events.
    bytes4 private constant SOULBOUND_INTERFACE = this.locked.selector;

    bytes32 private immutable _assetId;
    bytes32 private immutable _termsHash;
    bool private immutable _soulbound;

    uint256 private _supply;
    mapping(uint256 deedId => bytes32) private _documentHashes;
    mapping(uint256 deedId => bool) private _retired;
    mapping(address account => mapping(uint256 deedId => bool)) private _frozen;

    /// @notice A deed came into being.
    /// @param deedId The deed.
    /// @param to Its first holder.
    /// @param uri Where its document is.
    /// @param documentHash The document's hash.
    event DeedIssued(uint256 indexed deedId, address indexed to, string uri, bytes32 documentHash);

    /// @notice A deed has another document.
    /// @param deedId The deed.
    /// @param uri Where the document is.
    /// @param documentHash The document's hash.
    event DeedDocument(uint256 indexed deedId, string uri, bytes32 documentHash);

    /// @notice A deed has a royalty of its own, or none of its own any more (two zeros).
    /// @param deedId The deed.
    /// @param receiver Who is to be paid; zero if the default applies.
    /// @param basisPoints The share of a sale's price, in 1/10,000.
    event RoyaltySet(uint256 indexed deedId, address receiver, uint96 basisPoints);

    /// @notice The deeds without a royalty of their own have this one; with two zeros they have none.
    /// @param receiver Who is to be paid.
    /// @param basisPoints The share of a sale's price, in 1/10,000.
    // slither-disable-next-line unindexed-event-address rare, and read whole
    event DefaultRoyaltySet(address receiver, uint96 basisPoints);

    /// @notice A deed was destroyed, for ever.
    /// @param deedId The deed.
    /// @param reason Why.
    event Retired(uint256 indexed deedId, string reason);

    /// @notice Why a deed was moved by order.
    /// @param operationId The operation that moved it.
    /// @param reason Why.
    /// @param documentHash The hash of the order.
    event ForcedTransferReason(bytes32 indexed operationId, string reason, bytes32 documentHash);

    /// @notice A deed is bound to its holder (ERC-5192).
    /// @param tokenId The deed.
    event Locked(uint256 tokenId);

    /// @notice The id belonged to a deed that was retired; it is never issued again.
    /// @param deedId The id.
    error DeedRetired(uint256 deedId);

    /// @notice The value changed since the caller looked at it.
    /// @param expected What the caller saw.
    /// @param actual What it is.
    error ERC7943ExpectedValueMismatch(bool expected, bool actual);

    /// @notice Makes a token without deeds.
    /// @param terms What it is made with; the authority must be a contract.
    constructor(
        DeedTerms memory terms
    ) ERC721(terms.name, terms.symbol) EIP712("DeedToken", "1") AccessManaged(terms.authority) {
        require(terms.authority.code.length != 0, AuthorityMissing());
        _assetId = terms.assetId;
        _termsHash = terms.termsHash;
        _soulbound = terms.soulbound;
        _setRegistry(terms.registry);
    }

    /// @notice Issues a deed. The receiver is not called: its contract could refuse, or act in the middle of the issue,
    /// and who receives is the issuer's decision.
    /// @param to The first holder; the registry must allow it to receive.
    /// @param deedId The id; never used before.
    /// @param uri Where the document is.
    /// @param documentHash_ The document's hash.
    /// @param operationId The id to burn; not zero.
    function mintDeed(
        address to,
        uint256 deedId,
        string calldata uri,
        bytes32 documentHash_,
        bytes32 operationId
    ) external restricted once(operationId) whenNotPaused {
        require(!_retired[deedId], DeedRetired(deedId));
        ++_supply;
        _mint(to, deedId);
        _setTokenURI(deedId, uri);
        _documentHashes[deedId] = documentHash_;
        emit DeedIssued(deedId, to, uri, documentHash_);
        if (_soulbound) emit Locked(deedId);
        _afterTransfer(address(0), address(0), to, 1, 0, balanceOf(to));
    }

    /// @notice Puts another document behind a deed.
    /// @param deedId The deed.
    /// @param uri Where the document is.
    /// @param documentHash_ The document's hash.
    /// @param operationId The id to burn; not zero.
    function setURI(
        uint256 deedId,
        string calldata uri,
        bytes32 documentHash_,
        bytes32 operationId
    ) external restricted once(operationId) {
        _requireOwned(deedId);
        _setTokenURI(deedId, uri);
        _documentHashes[deedId] = documentHash_;
        emit DeedDocument(deedId, uri, documentHash_);
    }

    /// @notice Gives a deed a royalty of its own; with two zeros, the default applies again.
    /// @param deedId The deed.
    /// @param receiver Who is to be paid.
    /// @param basisPoints The share of a sale's price, in 1/10,000.
    /// @param operationId The id to burn; not zero.
    function setRoyalty(
        uint256 deedId,
        address receiver,
        uint96 basisPoints,
        bytes32 operationId
    ) external restricted once(operationId) {
        _requireOwned(deedId);
        if (receiver == address(0) && basisPoints == 0) _resetTokenRoyalty(deedId);
        else _setTokenRoyalty(deedId, receiver, basisPoints);
        emit RoyaltySet(deedId, receiver, basisPoints);
    }

    /// @notice Sets the royalty of all deeds without one of their own; with two zeros, they have none.
    /// @param receiver Who is to be paid.
    /// @param basisPoints The share of a sale's price, in 1/10,000.
    /// @param operationId The id to burn; not zero.
    function setDefaultRoyalty(
        address receiver,
        uint96 basisPoints,
        bytes32 operationId
    ) external restricted once(operationId) {
        if (receiver == address(0) && basisPoints == 0) _deleteDefaultRoyalty();
        else _setDefaultRoyalty(receiver, basisPoints);
        emit DefaultRoyaltySet(receiver, basisPoints);
    }

    /// @notice Destroys a deed, frozen or not, without its holder's consent. Its id is never issued again.
    /// @param deedId The deed.
    /// @param reason Why.
    /// @param operationId The id to burn; not zero.
    function retire(
        uint256 deedId,
        string calldata reason,
        bytes32 operationId
    ) external restricted once(operationId) whenNotPaused {
        address holder = _requireOwned(deedId);
        if (_frozen[holder][deedId]) _setFrozen(holder, deedId, false);
        _retired[deedId] = true;
        --_supply;
        _burn(deedId);
        emit Retired(deedId, reason);
        _afterForced(holder, address(0), 1, balanceOf(holder), 0);
    }

    /// @inheritdoc IERC7943NonFungible
    function forcedTransfer(address from, address to, uint256 tokenId) external restricted returns (bool result) {
        _force(from, to, tokenId);
        _afterForced(from, to, 1, balanceOf(from), balanceOf(to));
        return true;
    }

    /// @notice Moves a deed by order, be it frozen or soulbound or the token paused, and says why. A registry that says
    /// no to the receiver stops it; one that fails does not.
    /// @param from The holder.
    /// @param to The receiver.
    /// @param deedId The deed.
    /// @param reason Why.
    /// @param documentHash_ The hash of the order.
    /// @param operationId The id to burn; not zero.
    function forcedTransferRef(
        address from,
        address to,
        uint256 deedId,
        string calldata reason,
        bytes32 documentHash_,
        bytes32 operationId
    ) external restricted once(operationId) {
        _force(from, to, deedId);
        emit ForcedTransferReason(operationId, reason, documentHash_);
        _afterForced(from, to, 1, balanceOf(from), balanceOf(to));
    }

    /// @inheritdoc IERC7943NonFungible
    function setFrozenTokens(
        address account,
        uint256 tokenId,
        bool frozenStatus
    ) external restricted returns (bool result) {
        _setFrozen(account, tokenId, frozenStatus);
        return true;
    }

    /// @notice Freezes or releases a deed in the hands of one account, if nobody has changed that meanwhile.
    /// @param account The account, whether or not it holds the deed now.
    /// @param deedId The deed.
    /// @param expected What the caller takes it to be now.
    /// @param frozen True to freeze it.
    /// @param operationId The id to burn; not zero.
    /// @return Always true; a failure reverts.
    function setFrozenTokensIf(
        address account,
        uint256 deedId,
        bool expected,
        bool frozen,
        bytes32 operationId
    ) external restricted once(operationId) returns (bool) {
        bool actual = _frozen[account][deedId];
        require(actual == expected, ERC7943ExpectedValueMismatch(expected, actual));
        _setFrozen(account, deedId, frozen);
        return true;
    }

    /// @notice Stops transfers, authorizations to transfer, issues and retirements; enforcement goes on.
    /// @param operationId The id to burn; not zero.
    function pause(bytes32 operationId) external restricted once(operationId) {
        _pause();
    }

    /// @notice Ends a pause.
    /// @param operationId The id to burn; not zero.
    function unpause(bytes32 operationId) external restricted once(operationId) {
        _unpause();
    }

    /// @notice Sets the registry while there is no deed, or takes it away at any time.
    /// @param registry_ The registry; zero for none.
    /// @param operationId The id to burn; not zero.
    function setRegistry(address registry_, bytes32 operationId) external restricted once(operationId) {
        _setRegistry(registry_);
    }

    /// @notice Moves a deed on its holder's signature, whoever brings it. The receiver is not called.
    /// @param from The holder, who signed.
    /// @param to The receiver.
    /// @param deedId The deed.
    /// @param validAfter The second after which it may be executed.
    /// @param validBefore The second before which it may be executed.
    /// @param nonce The holder's nonce, which is burned.
    /// @param v The signature's recovery id.
    /// @param r The signature's first half.
    /// @param s The signature's second half.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 deedId,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(TRANSFER_TYPEHASH, from, to, deedId, validAfter, validBefore, nonce)
        );
        _requireSigned(from, structHash, v, r, s);
        _useAuthorization(from, nonce, validAfter, validBefore);
        // Who brings a signature is no spender: the holder named the deed and the receiver.
        _move(from, from, to, deedId);
    }

    /// @notice Approves a spender for a deed on its holder's signature, whoever brings it. Works during a pause, as
    /// `approve` does: it moves nothing.
    /// @param owner The holder, who signed.
    /// @param spender Who may move the deed; zero for nobody.
    /// @param deedId The deed.
    /// @param validAfter The second after which it may be executed.
    /// @param validBefore The second before which it may be executed.
    /// @param nonce The holder's nonce, which is burned.
    /// @param v The signature's recovery id.
    /// @param r The signature's first half.
    /// @param s The signature's second half.
    function approveWithAuthorization(
        address owner,
        address spender,
        uint256 deedId,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(APPROVE_TYPEHASH, owner, spender, deedId, validAfter, validBefore, nonce)
        );
        _requireSigned(owner, structHash, v, r, s);
        _useAuthorization(owner, nonce, validAfter, validBefore);
        // Stricter than `approve`, which an operator may call too: the signature names the holder.
        address holder = _requireOwned(deedId);
        require(holder == owner, ERC721IncorrectOwner(owner, deedId, holder));
        _approve(spender, deedId, owner);
    }

    /// @inheritdoc IERC7943NonFungible
    function canSend(address account) external view returns (bool allowed) {
        return account != address(0) && _registryCanSend(account);
    }

    /// @inheritdoc IERC7943NonFungible
    function canReceive(address account) external view returns (bool allowed) {
        return account != address(0) && _registryCanReceive(account);
    }

    /// @inheritdoc IERC7943NonFungible
    function canTransfer(address from, address to, uint256 tokenId) external view returns (bool allowed) {
        return explainTransfer(address(0), from, to, tokenId).code == Restrictions.ALLOWED;
    }

    /// @inheritdoc IERC7943NonFungible
    function getFrozenTokens(address account, uint256 tokenId) external view returns (bool frozenStatus) {
        return _frozen[account][tokenId];
    }

    /// @notice The first rule that keeps a holder from moving a deed, as a number. Never reverts.
    /// @param from The sender.
    /// @param to The receiver.
    /// @param deedId The deed.
    /// @return The code; 0 if the rules let it move.
    function detectTransferRestriction(address from, address to, uint256 deedId) external view returns (uint8) {
        return explainTransfer(address(0), from, to, deedId).code;
    }

    /// @notice What a code means.
    /// @param code A code of `detectTransferRestriction`.
    /// @return A short English sentence.
    function messageForTransferRestriction(uint8 code) external pure returns (string memory) {
        return Restrictions.text(code);
    }

    /// @notice The hash of a deed's document.
    /// @param deedId The deed.
    /// @return The hash, which stays readable after the deed was retired; 0 if there never was such a deed.
    function documentHash(uint256 deedId) external view returns (bytes32) {
        return _documentHashes[deedId];
    }

    /// @notice Whether a deed is bound to its holder (ERC-5192).
    /// @param deedId The deed; it must exist.
    /// @return True if this token's deeds are soulbound.
    function locked(uint256 deedId) external view returns (bool) {
        _requireOwned(deedId);
        return _soulbound;
    }

    /// @notice How many deeds there are.
    /// @return Those issued and not retired.
    function totalSupply() external view returns (uint256) {
        return _supply;
    }

    /// @notice The asset that the deeds belong to.
    /// @return The id given at deployment.
    function assetId() external view returns (bytes32) {
        return _assetId;
    }

    /// @notice The terms that the asset was issued under.
    /// @return The hash given at deployment.
    function termsHash() external view returns (bytes32) {
        return _termsHash;
    }

    /// @notice Moves a deed, and does not call the receiver. Both `safeTransferFrom` come through here too.
    /// @param from The holder.
    /// @param to The receiver.
    /// @param deedId The deed; the caller holds it, or is approved for it or for all of the holder's.
    function transferFrom(address from, address to, uint256 deedId) public override(ERC721, IERC721) {
        _move(_msgSender(), from, to, deedId);
    }

    /// @notice The first rule that keeps `spender` from moving a deed. Who holds it and who approved whom is not asked.
    /// Never reverts.
    /// @param spender Who moves it; zero, or `from`, for the holder.
    /// @param from The sender.
    /// @param to The receiver.
    /// @param deedId The deed.
    /// @return The rule and its figures; code 0 if the rules let it move.
    function explainTransfer(
        address spender,
        address from,
        address to,
        uint256 deedId
    ) public view returns (Restriction memory) {
        if (paused()) return Restriction(Restrictions.PAUSED, address(0), 0, 0);
        if (from == address(0) || to == address(0)) return Restriction(Restrictions.ZERO_ADDRESS, address(0), 0, 0);
        if (_soulbound) return Restriction(Restrictions.SOULBOUND, from, 0, 1);
        if (_frozen[from][deedId]) return Restriction(Restrictions.FROZEN, from, 0, 1);
        return _judge(spender == from ? address(0) : spender, from, to, 1);
    }

    /// @notice Where a deed's document is.
    /// @param deedId The deed; it must exist.
    /// @return The address given at its issue or by `setURI`.
    function tokenURI(uint256 deedId) public view override(ERC721, ERC721URIStorage) returns (string memory) {
        return super.tokenURI(deedId);
    }

    /// @notice Whether the contract implements `interfaceId` (ERC-165).
    /// @param interfaceId ERC-165, ERC-721 and its metadata, ERC-2981, ERC-4906, ERC-7943 for deeds and, if the deeds
    /// are soulbound, ERC-5192 are answered with true.
    /// @return True if it does.
    function supportsInterface(
        bytes4 interfaceId
    ) public view override(ERC721URIStorage, ERC721Royalty, IERC165) returns (bool) {
        return
            interfaceId == type(IERC7943NonFungible).interfaceId ||
            (_soulbound && interfaceId == SOULBOUND_INTERFACE) ||
            super.supportsInterface(interfaceId);
    }

    /// @dev Every public transfer comes through here, so every rule on them belongs here; the order is that of
    /// `explainTransfer`, with ERC-721's own refusals before the rules on the deed. A spender approved long ago is
    /// judged as it is now.
    function _move(address spender, address from, address to, uint256 deedId) private whenNotPaused {
        require(to != address(0), ERC721InvalidReceiver(address(0)));
        address holder = _ownerOf(deedId);
        _checkAuthorized(holder, spender, deedId);
        require(holder == from, ERC721IncorrectOwner(from, deedId, holder));
        require(!_soulbound, TransferRestricted(Restrictions.SOULBOUND, from, 0, 1));
        require(!_frozen[from][deedId], ERC7943InsufficientUnfrozenBalance(from, deedId));
        _update(to, deedId, address(0));
        _afterTransfer(spender == from ? address(0) : spender, from, to, 1, balanceOf(from), balanceOf(to));
    }

    /// @dev Enforcement: asks whether the receiver may receive and nothing else, and releases the deed before it moves.
    function _force(address from, address to, uint256 deedId) private {
        require(to != address(0), ERC721InvalidReceiver(address(0)));
        address holder = _requireOwned(deedId);
        require(holder == from, ERC721IncorrectOwner(from, deedId, holder));
        require(!_registryRefusesReceiver(to), ERC7943CannotReceive(to));
        // To the same account nothing leaves, so a freeze stays: lifting it is another role's right.
        if (from != to && _frozen[from][deedId]) _setFrozen(from, deedId, false);
        _update(to, deedId, address(0));
        emit ForcedTransfer(from, to, deedId);
    }

    function _setFrozen(address account, uint256 deedId, bool frozen) private {
        _frozen[account][deedId] = frozen;
        emit Frozen(account, deedId, frozen);
    }

    function _issued() internal view override returns (bool) {
        return _supply != 0;
    }
}
