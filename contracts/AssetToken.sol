// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {Authorized} from "./parts/Authorized.sol";
import {IERC7943Fungible} from "./parts/IERC7943Fungible.sol";
import {IReserve} from "./parts/IReserve.sol";
import {Operations} from "./parts/Operations.sol";
import {Regulated} from "./parts/Regulated.sol";
import {Restriction, Restrictions, TransferRestricted} from "./parts/Restrictions.sol";
import {AuthorityMissing, TokenTerms} from "./parts/TokenTerms.sol";

/// @title Fungible units of one asset.
/// @notice ERC-20 with signed approvals (ERC-2612) and signed acts (ERC-3009), freezing and forced transfers
/// (ERC-7943), a registry that judges transfers, and a reserve that limits the supply. An authority contract
/// knows who may do what.
/// @dev Not upgradeable. Amounts are base units. The EIP-712 domain is ("AssetToken", "1", chain id, this contract).
/// Rules stand in `_move`, which every public move passes; `_update` holds none, so enforcement needs no way around.
/// Pausable and Regulated stand side by side so that `paused` and `registry` share a storage slot, read by each move.
contract AssetToken is
    ERC20Permit,
    Authorized,
    Pausable,
    Regulated,
    AccessManaged,
    Operations,
    IERC7943Fungible
{
    /// @dev A constant, because OpenZeppelin's EIP712 keeps 31 bytes at most here and an asset's name may be longer.
    string private constant DOMAIN_NAME = "AssetToken";

    /// @dev Frozen without limit. Such a holder acts for nobody else either, and a forced transfer leaves it so, as
    /// spending leaves an allowance without limit.
    uint256 private constant ALL = type(uint256).max;

    bytes32 private constant REDEEM_TYPEHASH =
        keccak256(
            "RedeemWithAuthorization(address account,uint256 amount,bytes32 ref,"
            "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );

    uint8 private immutable _decimals;
    address private immutable _reserve;
    bytes32 private immutable _assetId;
    bytes32 private immutable _termsHash;

    mapping(address account => uint256) private _frozen;

    /// @notice A holder gave units back.
    /// @param account The former holder.
    /// @param amount Base units, which are gone.
    /// @param ref What the holder refers to, an order or a claim.
    event Redeemed(address indexed account, uint256 amount, bytes32 indexed ref);

    /// @notice Why the forced transfer of the operation `operationId` took place.
    /// @param operationId The burned id.
    /// @param reason In words.
    /// @param documentHash Hash of the order behind it; zero if there is none.
    event ForcedTransferReason(bytes32 indexed operationId, string reason, bytes32 documentHash);

    /// @notice Somebody changed the frozen amount first.
    /// @param expected The frozen amount that the caller had seen.
    /// @param actual The frozen amount now.
    error ERC7943ExpectedValueMismatch(uint256 expected, uint256 actual);

    /// @notice Makes the token.
    /// @param terms What it is made with; the authority must be a contract already.
    constructor(
        TokenTerms memory terms
    ) ERC20(terms.name, terms.symbol) ERC20Permit(DOMAIN_NAME) AccessManaged(terms.authority) {
        require(terms.authority.code.length != 0, AuthorityMissing());
        _decimals = terms.decimals;
        _reserve = terms.reserve;
        _assetId = terms.assetId;
        _termsHash = terms.termsHash;
        if (terms.registry != address(0)) _setRegistry(terms.registry);
    }

    /// @notice Creates `amount` units for `to`, if the registry lets it receive them and the reserve backs them.
    /// @param to The receiver; not the zero address.
    /// @param amount Base units; the total supply stays below 2**256.
    /// @param operationId The id to burn; not zero.
    function mint(
        address to,
        uint256 amount,
        bytes32 operationId
    ) external restricted once(operationId) whenNotPaused {
        _issue(to, amount);
        _requireBacked();
    }

    /// @notice Creates units for several receivers, all or none.
    /// @param to The receivers; not the zero address.
    /// @param amounts Base units for each receiver.
    /// @param operationId The id to burn; not zero.
    function batchMint(
        address[] calldata to,
        uint256[] calldata amounts,
        bytes32 operationId
    ) external restricted once(operationId) whenNotPaused {
        _requireSameLength(to.length, amounts.length);
        for (uint256 i = 0; i < to.length; ++i) _issue(to[i], amounts[i]);
        _requireBacked();
    }

    /// @notice Destroys `amount` units of `from`, without its consent and frozen or not.
    /// @param from Any holder.
    /// @param amount Base units, at most the holder's balance.
    /// @param operationId The id to burn; not zero.
    function burn(
        address from,
        uint256 amount,
        bytes32 operationId
    ) external restricted once(operationId) whenNotPaused {
        _lowerFrozen(from, amount);
        _burn(from, amount);
        _afterForced(from, address(0), amount, balanceOf(from), 0);
    }

    /// @notice Gives back `amount` of the caller's units.
    /// @param amount Base units that the caller could also send.
    /// @param ref What the caller refers to, an order or a claim.
    function redeem(uint256 amount, bytes32 ref) external {
        _redeem(_msgSender(), amount, ref);
    }

    /// @notice Gives back units as their holder signed.
    /// @param account The signer.
    /// @param amount Base units that the holder could also send.
    /// @param ref What the holder refers to, an order or a claim.
    /// @param validAfter The signature serves after this time (seconds).
    /// @param validBefore The signature serves before this time (seconds).
    /// @param nonce Any value that the holder never used.
    /// @param v The signature's recovery id.
    /// @param r The signature's first word.
    /// @param s The signature's second word.
    function redeemWithAuthorization(
        address account,
        uint256 amount,
        bytes32 ref,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes32 digest = keccak256(abi.encode(REDEEM_TYPEHASH, account, amount, ref, validAfter, validBefore, nonce));
        _requireSignature(account, digest, v, r, s);
        _useAuthorization(account, validAfter, validBefore, nonce);
        _redeem(account, amount, ref);
    }

    /// @notice Moves units without the holder's consent, even during a pause. Prefer `forcedTransferRef`: this one is
    /// here because ERC-7943 names it, and has no room for an operation id.
    /// @param from The holder.
    /// @param to The receiver; the registry must not refuse it.
    /// @param amount Base units, at most the holder's balance.
    /// @return True; a failure reverts.
    function forcedTransfer(address from, address to, uint256 amount) external restricted returns (bool) {
        _force(from, to, amount);
        return true;
    }

    /// @notice Moves units without the holder's consent, even during a pause, and tells why.
    /// @param from The holder.
    /// @param to The receiver; the registry must not refuse it, while one that fails to answer is passed over.
    /// @param amount Base units, at most the holder's balance.
    /// @param reason In words.
    /// @param documentHash Hash of the order behind it; zero if there is none.
    /// @param operationId The id to burn; not zero.
    function forcedTransferRef(
        address from,
        address to,
        uint256 amount,
        string calldata reason,
        bytes32 documentHash,
        bytes32 operationId
    ) external restricted once(operationId) {
        _force(from, to, amount);
        emit ForcedTransferReason(operationId, reason, documentHash);
    }

    /// @notice Sets how much of an account's units is frozen. Prefer `setFrozenTokensIf`: this one is here because
    /// ERC-7943 names it, and overwrites what somebody else may have set meanwhile.
    /// @param account The holder.
    /// @param amount Base units in all; it may exceed the balance, and 2**256 - 1 freezes without limit.
    /// @return True; a failure reverts.
    function setFrozenTokens(address account, uint256 amount) external restricted returns (bool) {
        _setFrozen(account, amount);
        return true;
    }

    /// @notice Sets how much of an account's units is frozen, unless it is not what the caller had seen.
    /// @param account The holder.
    /// @param expected The frozen amount that the caller had seen.
    /// @param amount Base units in all; it may exceed the balance, and 2**256 - 1 freezes without limit.
    /// @param operationId The id to burn; not zero.
    /// @return True; a failure reverts.
    function setFrozenTokensIf(
        address account,
        uint256 expected,
        uint256 amount,
        bytes32 operationId
    ) external restricted once(operationId) returns (bool) {
        _setFrozenIf(account, expected, amount);
        return true;
    }

    /// @notice Sets how much of several accounts' units is frozen, all or none.
    /// @param accounts The holders.
    /// @param expected For each the frozen amount that the caller had seen.
    /// @param amounts For each the base units in all; they may exceed the balance, and 2**256 - 1 freezes without limit.
    /// @param operationId The id to burn; not zero.
    function batchSetFrozenTokensIf(
        address[] calldata accounts,
        uint256[] calldata expected,
        uint256[] calldata amounts,
        bytes32 operationId
    ) external restricted once(operationId) {
        _requireSameLength(accounts.length, expected.length);
        _requireSameLength(accounts.length, amounts.length);
        for (uint256 i = 0; i < accounts.length; ++i) _setFrozenIf(accounts[i], expected[i], amounts[i]);
    }

    /// @notice Stops transfers, mints, burns, redemptions and their signed forms; not approvals, nor forced transfers.
    /// @param operationId The id to burn; not zero.
    function pause(bytes32 operationId) external restricted once(operationId) {
        _pause();
    }

    /// @notice Lets units move again.
    /// @param operationId The id to burn; not zero.
    function unpause(bytes32 operationId) external restricted once(operationId) {
        _unpause();
    }

    /// @notice Sets the registry while nothing is issued, or takes it away at any time.
    /// @param registry_ The registry; zero for none.
    /// @param operationId The id to burn; not zero.
    function setRegistry(address registry_, bytes32 operationId) external restricted once(operationId) {
        _setRegistry(registry_);
    }

    /// @notice Which asset the units belong to.
    /// @return The id given at deployment.
    function assetId() external view returns (bytes32) {
        return _assetId;
    }

    /// @notice Hash of the terms on which the units are issued.
    /// @return The hash given at deployment.
    function termsHash() external view returns (bytes32) {
        return _termsHash;
    }

    /// @notice The contract that each mint asks whether the supply is backed.
    /// @return The address given at deployment; zero if there is none.
    function reserve() external view returns (address) {
        return _reserve;
    }

    /// @inheritdoc IERC7943Fungible
    function getFrozenTokens(address account) external view returns (uint256) {
        return _frozen[account];
    }

    /// @inheritdoc IERC7943Fungible
    function canSend(address account) external view returns (bool) {
        return account != address(0) && _registryCanSend(account);
    }

    /// @inheritdoc IERC7943Fungible
    function canReceive(address account) external view returns (bool) {
        return account != address(0) && _registryCanReceive(account);
    }

    /// @inheritdoc IERC7943Fungible
    function canTransfer(address from, address to, uint256 amount) external view returns (bool) {
        return explainTransfer(address(0), from, to, amount).code == Restrictions.ALLOWED;
    }

    /// @notice The code of the first rule that refuses a transfer by the holder (ERC-1404).
    /// @param from The holder.
    /// @param to The receiver.
    /// @param amount Base units.
    /// @return Zero if no rule refuses it.
    function detectTransferRestriction(address from, address to, uint256 amount) external view returns (uint8) {
        return explainTransfer(address(0), from, to, amount).code;
    }

    /// @notice What a code means (ERC-1404).
    /// @param code A code of `detectTransferRestriction`.
    /// @return A short English sentence.
    function messageForTransferRestriction(uint8 code) external pure returns (string memory) {
        return Restrictions.text(code);
    }

    /// @notice The first rule that refuses a transfer, whatever the balance and the allowance. Never reverts.
    /// @param spender Who would call `transferFrom`; zero or the holder itself if nobody else takes part.
    /// @param from The holder.
    /// @param to The receiver.
    /// @param amount Base units.
    /// @return The refusal with its numbers; code zero if there is none.
    function explainTransfer(
        address spender,
        address from,
        address to,
        uint256 amount
    ) public view returns (Restriction memory) {
        if (paused()) return Restriction(Restrictions.PAUSED, address(0), 0, 0);
        if (from == address(0) || to == address(0)) return Restriction(Restrictions.ZERO_ADDRESS, address(0), 0, 0);
        (bool frozen, uint256 unfrozen) = _isFrozen(from, balanceOf(from), amount);
        if (frozen) return Restriction(Restrictions.FROZEN, from, unfrozen, amount);
        if (spender == from) spender = address(0);
        if (_isFrozenSpender(spender)) return Restriction(Restrictions.SPENDER_FROZEN, spender, 0, 0);
        return _judge(spender, from, to, amount);
    }

    /// @notice Moves the caller's units.
    /// @param to The receiver; not the zero address.
    /// @param amount Base units, none of them frozen.
    /// @return True; a refusal reverts.
    function transfer(address to, uint256 amount) public virtual override returns (bool) {
        _moveByHolder(_msgSender(), to, amount);
        return true;
    }

    /// @notice Moves units of a holder who approved the caller. The caller is judged too, on every call: an allowance
    /// given before it was blocked or frozen serves no longer.
    /// @param from The holder.
    /// @param to The receiver; not the zero address.
    /// @param amount Base units, none of them frozen.
    /// @return True; a refusal reverts.
    function transferFrom(
        address from,
        address to,
        uint256 amount
    ) public virtual override whenNotPaused returns (bool) {
        // The pause is told before a lack of allowance, and the allowance is spent before the registry is called.
        address spender = _msgSender();
        _spendAllowance(from, spender, amount);
        _move(spender == from ? address(0) : spender, from, to, amount);
        return true;
    }

    /// @notice How many decimal places of display one unit has.
    /// @return The number given at deployment.
    function decimals() public view virtual override returns (uint8) {
        return _decimals;
    }

    /// @notice Whether the contract implements `interfaceId` (ERC-165).
    /// @param interfaceId ERC-165, ERC-20, its metadata, ERC-2612, ERC-7943 and ERC-1404 are answered with true.
    /// @return True if it does.
    function supportsInterface(bytes4 interfaceId) public view virtual returns (bool) {
        return
            interfaceId == type(IERC165).interfaceId ||
            interfaceId == type(IERC20).interfaceId ||
            interfaceId == type(IERC20Metadata).interfaceId ||
            interfaceId == type(IERC20Permit).interfaceId ||
            interfaceId == type(IERC7943Fungible).interfaceId ||
            interfaceId == this.detectTransferRestriction.selector ^ this.messageForTransferRestriction.selector;
    }

    /// @dev Every signed transfer and every batch comes through here.
    function _moveByHolder(address from, address to, uint256 amount) internal override {
        _move(address(0), from, to, amount);
    }

    /// @dev The road of every transfer by consent; `spender` is zero if the holder acts. `explainTransfer` tells the
    /// same refusals in the same order.
    function _move(address spender, address from, address to, uint256 amount) private whenNotPaused {
        require(to != address(0), ERC20InvalidReceiver(address(0)));
        _leave(from, amount);
        require(!_isFrozenSpender(spender), TransferRestricted(Restrictions.SPENDER_FROZEN, spender, 0, 0));
        _update(from, to, amount);
        _afterTransfer(spender, from, to, amount, balanceOf(from), balanceOf(to));
    }

    /// @dev A redemption obeys what a transfer by the holder obeys.
    function _redeem(address account, uint256 amount, bytes32 ref) private whenNotPaused {
        _leave(account, amount);
        _update(account, address(0), amount);
        emit Redeemed(account, amount, ref);
        _afterTransfer(address(0), account, address(0), amount, balanceOf(account), 0);
    }

    /// @dev Refuses when `from` lacks the units or may not move them.
    function _leave(address from, uint256 amount) private view {
        uint256 balance = balanceOf(from);
        require(balance >= amount, ERC20InsufficientBalance(from, balance, amount));
        (bool frozen, uint256 unfrozen) = _isFrozen(from, balance, amount);
        require(!frozen, ERC7943InsufficientUnfrozenBalance(from, amount, unfrozen));
    }

    function _issue(address to, uint256 amount) private {
        _mint(to, amount);
        _afterTransfer(address(0), address(0), to, amount, 0, balanceOf(to));
    }

    function _requireBacked() private view {
        if (_reserve != address(0)) IReserve(_reserve).requireBacked(totalSupply());
    }

    /// @dev No pause, no freeze and no failing registry stops it; only a registry that says no to the receiver.
    function _force(address from, address to, uint256 amount) private {
        require(!_registryRefusesReceiver(to), ERC7943CannotReceive(to));
        // What a holder is moved to itself stays frozen, or such a call would thaw by the wrong permission.
        if (from != to) _lowerFrozen(from, amount);
        _transfer(from, to, amount);
        emit ForcedTransfer(from, to, amount);
        _afterForced(from, to, amount, balanceOf(from), balanceOf(to));
    }

    /// @dev Unfreezes what is about to be taken by permission beyond what is unfrozen.
    function _lowerFrozen(address from, uint256 amount) private {
        (bool frozen, uint256 unfrozen) = _isFrozen(from, balanceOf(from), amount);
        if (!frozen) return;
        uint256 former = _frozen[from];
        uint256 taken = amount - unfrozen;
        // More than that is taken only by a call that the balance is about to refuse.
        if (former != ALL) former = former > taken ? former - taken : 0;
        _setFrozen(from, former);
    }

    function _setFrozenIf(address account, uint256 expected, uint256 amount) private {
        uint256 actual = _frozen[account];
        require(actual == expected, ERC7943ExpectedValueMismatch(expected, actual));
        _setFrozen(account, amount);
    }

    function _setFrozen(address account, uint256 amount) private {
        _frozen[account] = amount;
        emit Frozen(account, amount);
    }

    /// @dev A holder without frozen units lacks balance at most, which is ERC-20's own refusal.
    function _isFrozen(
        address account,
        uint256 balance,
        uint256 amount
    ) private view returns (bool frozen, uint256 unfrozen) {
        uint256 kept = _frozen[account];
        unfrozen = balance > kept ? balance - kept : 0;
        frozen = kept != 0 && amount > unfrozen;
    }

    function _isFrozenSpender(address spender) private view returns (bool) {
        return spender != address(0) && _frozen[spender] == ALL;
    }

    /// @inheritdoc Regulated
    function _issued() internal view override returns (bool) {
        return totalSupply() != 0;
    }
}
