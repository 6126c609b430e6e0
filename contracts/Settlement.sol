// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {Context} from "@openzeppelin/contracts/utils/Context.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Delivery against payment, in one transaction or not at all.
/// @notice Two parties sign the same trade and approve this contract; anyone brings the trade and the signatures.
/// Units or a deed go to the buyer and the currency to the seller, and if either leg fails, neither happens. There is
/// no role, no fee and no balance here: nothing that an operator of this contract could stop, take or lose.
/// @dev The EIP-712 domain is ("Settlement", "1", chain id, this contract).
contract Settlement is Context, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice What both parties agree to.
    /// @param seller Gives the asset and gets the currency.
    /// @param buyer Gives the currency and gets the asset.
    /// @param asset An ERC-20 contract, or an ERC-721 contract if `deed` is set.
    /// @param assetAmount Base units of the asset; the deed's id if `deed` is set.
    /// @param deed Whether the asset is a deed.
    /// @param currency The ERC-20 contract of the payment.
    /// @param currencyAmount Base units of the currency.
    /// @param expiresAt The first second at which the trade no longer settles.
    /// @param nonce Any value that this seller and this buyer have not used in a trade between them.
    struct Trade {
        address seller;
        address buyer;
        address asset;
        uint256 assetAmount;
        bool deed;
        address currency;
        uint256 currencyAmount;
        uint64 expiresAt;
        bytes32 nonce;
    }

    /// @notice The EIP-712 type hash of a trade.
    bytes32 public constant TRADE_TYPEHASH = keccak256(
        "Trade(address seller,address buyer,address asset,uint256 assetAmount,bool deed,"
        "address currency,uint256 currencyAmount,uint64 expiresAt,bytes32 nonce)"
    );

    // slither-disable-next-line uninitialized-state _burnNonce writes it through a storage pointer
    mapping(address seller => mapping(address buyer => mapping(bytes32 nonce => bool))) private _used;

    /// @notice Both legs of the trade happened.
    /// @param tradeId The trade's EIP-712 digest.
    /// @param seller The party that gave the asset.
    /// @param buyer The party that gave the currency.
    /// @param asset The asset's contract.
    /// @param assetAmount Base units of the asset, or the deed's id.
    /// @param deed Whether the asset is a deed.
    /// @param currency The currency's contract.
    /// @param currencyAmount Base units of the currency.
    /// @param nonce The nonce, now burned for this seller and buyer.
    event Settled(
        bytes32 indexed tradeId,
        address indexed seller,
        address indexed buyer,
        address asset,
        uint256 assetAmount,
        bool deed,
        address currency,
        uint256 currencyAmount,
        bytes32 nonce
    );

    /// @notice One of the parties withdrew the trade.
    /// @param tradeId The trade's EIP-712 digest.
    /// @param seller The trade's seller.
    /// @param buyer The trade's buyer.
    /// @param nonce The nonce, now burned for this seller and buyer: no other trade with it settles either.
    /// @param party The party that withdrew.
    event Cancelled(
        bytes32 indexed tradeId, address indexed seller, address indexed buyer, bytes32 nonce, address party
    );

    /// @notice The trade's time is over.
    /// @param expiresAt The first second at which it no longer settled.
    error TradeExpired(uint64 expiresAt);

    /// @notice A trade has two parties.
    /// @param party The account that stands on both sides.
    error TradeWithOneself(address party);

    /// @notice A trade has two legs: each moves something, and not the same thing.
    error TradeOneSided();

    /// @notice This seller and buyer settled or cancelled a trade with this nonce before.
    /// @param seller The trade's seller.
    /// @param buyer The trade's buyer.
    /// @param nonce The burned nonce.
    error NonceUsed(address seller, address buyer, bytes32 nonce);

    /// @notice `party` neither called nor signed this trade, on this chain and for this contract.
    /// @param party The party whose consent is missing.
    error ConsentMissing(address party);

    /// @notice Only a party may withdraw a trade.
    /// @param caller The stranger.
    error NotParty(address caller);

    /// @notice A leg did not move exactly what was agreed, as with a token that keeps a fee.
    /// @param token The contract whose balances are not as they should be.
    error LegNotExact(address token);

    /// @notice Makes the contract; there is nothing to configure.
    constructor() EIP712("Settlement", "1") {}

    /// @notice Settles a trade. Anyone may bring it: the signatures fix everything.
    /// @param trade What both parties agree to.
    /// @param sellerSignature The seller's signature (ECDSA, or ERC-1271 of a contract); not read if the seller calls.
    /// @param buyerSignature The buyer's signature, likewise.
    function settle(
        Trade calldata trade,
        bytes calldata sellerSignature,
        bytes calldata buyerSignature
    ) external nonReentrant {
        require(block.timestamp < trade.expiresAt, TradeExpired(trade.expiresAt));
        require(trade.seller != trade.buyer, TradeWithOneself(trade.seller));
        require(
            (trade.deed || trade.assetAmount != 0) && trade.currencyAmount != 0 && trade.asset != trade.currency,
            TradeOneSided()
        );
        _burnNonce(trade);
        bytes32 id = tradeId(trade);
        _requireConsent(trade.seller, id, sellerSignature);
        _requireConsent(trade.buyer, id, buyerSignature);
        emit Settled(
            id,
            trade.seller,
            trade.buyer,
            trade.asset,
            trade.assetAmount,
            trade.deed,
            trade.currency,
            trade.currencyAmount,
            trade.nonce
        );
        if (trade.deed) _moveDeed(IERC721(trade.asset), trade.seller, trade.buyer, trade.assetAmount);
        else _moveUnits(IERC20(trade.asset), trade.seller, trade.buyer, trade.assetAmount);
        _moveUnits(IERC20(trade.currency), trade.buyer, trade.seller, trade.currencyAmount);
    }

    /// @notice Withdraws a trade, signed or not, before it settles. Burns its nonce for this seller and buyer.
    /// @param trade The trade; its seller or its buyer calls.
    function cancel(Trade calldata trade) external {
        address caller = _msgSender();
        require(caller == trade.seller || caller == trade.buyer, NotParty(caller));
        _burnNonce(trade);
        emit Cancelled(tradeId(trade), trade.seller, trade.buyer, trade.nonce, caller);
    }

    /// @notice Whether a trade between these two settled or was cancelled under `nonce`.
    /// @param seller The seller.
    /// @param buyer The buyer.
    /// @param nonce The nonce asked about.
    /// @return True if no trade between them settles under this nonce any more.
    function nonceUsed(address seller, address buyer, bytes32 nonce) external view returns (bool) {
        return _used[seller][buyer][nonce];
    }

    /// @notice The digest that both parties sign, which also names the trade in events.
    /// @param trade The trade.
    /// @return The EIP-712 digest, which holds this chain and this contract.
    function tradeId(Trade calldata trade) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(TRADE_TYPEHASH, trade)));
    }

    function _burnNonce(Trade calldata trade) private {
        mapping(bytes32 nonce => bool) storage used = _used[trade.seller][trade.buyer];
        require(!used[trade.nonce], NonceUsed(trade.seller, trade.buyer, trade.nonce));
        used[trade.nonce] = true;
    }

    function _requireConsent(address party, bytes32 id, bytes calldata signature) private view {
        require(
            party == _msgSender() || SignatureChecker.isValidSignatureNowCalldata(party, id, signature),
            ConsentMissing(party)
        );
    }

    /// @dev Both balances are compared, because a fee may be kept from what arrives or charged on top of what leaves.
    function _moveUnits(IERC20 token, address from, address to, uint256 amount) private {
        uint256 fromBalance = token.balanceOf(from);
        uint256 toBalance = token.balanceOf(to);
        // slither-disable-next-line arbitrary-send-erc20 `from` signed this trade; settle checked both signatures
        token.safeTransferFrom(from, to, amount);
        require(
            token.balanceOf(from) + amount == fromBalance && token.balanceOf(to) == toBalance + amount,
            LegNotExact(address(token))
        );
    }

    /// @dev The buyer consented, so its `onERC721Received` is not asked: it would be a call into foreign code
    /// mid-trade.
    function _moveDeed(IERC721 token, address from, address to, uint256 deedId) private {
        // slither-disable-next-line arbitrary-send-erc20 `from` signed this trade; settle checked both signatures
        token.transferFrom(from, to, deedId);
        require(token.ownerOf(deedId) == to, LegNotExact(address(token)));
    }
}
