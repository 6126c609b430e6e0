// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IERC20Errors, IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Settlement} from "../Settlement.sol";
import {
    Currency,
    Deeds,
    FeeCurrency,
    HookCurrency,
    LyingCurrency,
    SilentCurrency,
    StuckDeeds,
    SurchargeCurrency,
    Wallet
} from "./Currencies.sol";
import {Harness} from "./Harness.sol";

contract SettlementTest is Harness {
    uint256 private constant SELLER_KEY = 0xA11CE;
    uint256 private constant BUYER_KEY = 0xB0B;

    Settlement private settlement;
    Currency private asset;
    Currency private currency;
    Deeds private deeds;
    address private seller;
    address private buyer;
    address private constant STRANGER = address(0xBAD);

    function setUp() public {
        settlement = new Settlement();
        asset = new Currency();
        currency = new Currency();
        deeds = new Deeds();
        seller = vm.addr(SELLER_KEY);
        buyer = vm.addr(BUYER_KEY);
        vm.warp(1_000_000);
        asset.mint(seller, 1000);
        currency.mint(buyer, 5000);
        deeds.mint(seller, 7);
        vm.startPrank(seller);
        asset.approve(address(settlement), type(uint256).max);
        deeds.approve(address(settlement), 7);
        vm.stopPrank();
        vm.prank(buyer);
        currency.approve(address(settlement), type(uint256).max);
    }

    function _trade() private view returns (Settlement.Trade memory) {
        return Settlement.Trade({
            seller: seller,
            buyer: buyer,
            asset: address(asset),
            assetAmount: 100,
            deed: false,
            currency: address(currency),
            currencyAmount: 250,
            expiresAt: uint64(block.timestamp + 1 hours),
            nonce: "first"
        });
    }

    function _sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _settle(Settlement.Trade memory trade) private {
        bytes32 id = settlement.tradeId(trade);
        settlement.settle(trade, _sign(SELLER_KEY, id), _sign(BUYER_KEY, id));
    }

    function _settleFails(Settlement.Trade memory trade, bytes memory reason) private {
        bytes32 id = settlement.tradeId(trade);
        bytes memory first = _sign(SELLER_KEY, id);
        bytes memory second = _sign(BUYER_KEY, id);
        vm.expectRevert(reason);
        settlement.settle(trade, first, second);
    }

    function _assertUnmoved() private view {
        assertEq(asset.balanceOf(seller), 1000, "seller's asset");
        assertEq(asset.balanceOf(buyer), 0, "buyer's asset");
        assertEq(currency.balanceOf(seller), 0, "seller's currency");
        assertEq(currency.balanceOf(buyer), 5000, "buyer's currency");
        assertEq(deeds.ownerOf(7), seller, "deed");
    }

    function test_anyone_settles_what_both_signed() public {
        Settlement.Trade memory trade = _trade();
        bytes32 id = settlement.tradeId(trade);
        bytes memory first = _sign(SELLER_KEY, id);
        bytes memory second = _sign(BUYER_KEY, id);
        vm.expectEmit(address(settlement));
        emit Settlement.Settled(
            id, seller, buyer, address(asset), 100, false, address(currency), 250, "first"
        );
        vm.prank(STRANGER);
        settlement.settle(trade, first, second);
        assertEq(asset.balanceOf(buyer), 100, "buyer's asset");
        assertEq(asset.balanceOf(seller), 900, "seller's asset");
        assertEq(currency.balanceOf(seller), 250, "seller's currency");
        assertEq(currency.balanceOf(buyer), 4750, "buyer's currency");
        assertEq(asset.balanceOf(address(settlement)) + currency.balanceOf(address(settlement)), 0, "nothing stays");
        assertTrue(settlement.nonceUsed(seller, buyer, "first"), "nonce burned");
    }

    function test_a_deed_against_currency() public {
        Settlement.Trade memory trade = _trade();
        (trade.asset, trade.assetAmount, trade.deed) = (address(deeds), 7, true);
        _settle(trade);
        assertEq(deeds.ownerOf(7), buyer, "deed");
        assertEq(currency.balanceOf(seller), 250, "paid");
    }

    function test_deed_zero_is_a_deed() public {
        deeds.mint(seller, 0);
        vm.prank(seller);
        deeds.approve(address(settlement), 0);
        Settlement.Trade memory trade = _trade();
        (trade.asset, trade.assetAmount, trade.deed) = (address(deeds), 0, true);
        _settle(trade);
        assertEq(deeds.ownerOf(0), buyer, "deed");
    }

    function test_a_party_consents_by_calling() public {
        Settlement.Trade memory trade = _trade();
        bytes memory signature = _sign(BUYER_KEY, settlement.tradeId(trade));
        vm.prank(seller);
        settlement.settle(trade, "", signature);
        trade.nonce = "second";
        signature = _sign(SELLER_KEY, settlement.tradeId(trade));
        vm.prank(buyer);
        settlement.settle(trade, signature, "");
        assertEq(asset.balanceOf(buyer), 200, "twice");
    }

    function test_calling_gives_one_consent_only() public {
        Settlement.Trade memory trade = _trade();
        vm.expectRevert(abi.encodeWithSelector(Settlement.ConsentMissing.selector, buyer));
        vm.prank(seller);
        settlement.settle(trade, "", "");
        vm.expectRevert(abi.encodeWithSelector(Settlement.ConsentMissing.selector, seller));
        vm.prank(buyer);
        settlement.settle(trade, "", "");
        _assertUnmoved();
    }

    function test_wallets_that_are_contracts_sign() public {
        Wallet first = new Wallet(seller);
        Wallet second = new Wallet(buyer);
        asset.mint(address(first), 100);
        currency.mint(address(second), 250);
        first.run(address(asset), abi.encodeCall(asset.approve, (address(settlement), 100)));
        second.run(address(currency), abi.encodeCall(currency.approve, (address(settlement), 250)));
        Settlement.Trade memory trade = _trade();
        (trade.seller, trade.buyer) = (address(first), address(second));
        bytes32 id = settlement.tradeId(trade);
        bytes memory good = _sign(SELLER_KEY, id);
        bytes memory bad = _sign(SELLER_KEY, id);
        vm.expectRevert(abi.encodeWithSelector(Settlement.ConsentMissing.selector, address(second)));
        settlement.settle(trade, good, bad);
        settlement.settle(trade, good, _sign(BUYER_KEY, id));
        assertEq(asset.balanceOf(address(second)), 100, "delivered");
        assertEq(currency.balanceOf(address(first)), 250, "paid");
    }

    function test_one_signature_is_not_enough(bytes calldata junk) public {
        Settlement.Trade memory trade = _trade();
        bytes32 id = settlement.tradeId(trade);
        bytes memory first = _sign(SELLER_KEY, id);
        bytes memory second = _sign(BUYER_KEY, id);
        vm.expectRevert(abi.encodeWithSelector(Settlement.ConsentMissing.selector, buyer));
        settlement.settle(trade, first, junk);
        vm.expectRevert(abi.encodeWithSelector(Settlement.ConsentMissing.selector, seller));
        settlement.settle(trade, junk, second);
        vm.expectRevert(abi.encodeWithSelector(Settlement.ConsentMissing.selector, seller));
        settlement.settle(trade, second, first);
        _assertUnmoved();
    }

    /// @dev Whatever field somebody changes, the signatures no longer fit.
    function test_no_field_changes_after_signing(uint8 field, uint256 other) public {
        Settlement.Trade memory trade = _trade();
        bytes32 id = settlement.tradeId(trade);
        bytes memory first = _sign(SELLER_KEY, id);
        bytes memory second = _sign(BUYER_KEY, id);
        field = uint8(bound(field, 0, 6));
        if (field == 0) trade.asset = address(uint160(bound(other, 1, type(uint160).max)));
        if (field == 1) trade.assetAmount = bound(other, 1, type(uint256).max);
        if (field == 2) trade.deed = true;
        if (field == 3) trade.currency = address(uint160(bound(other, 1, type(uint160).max)));
        if (field == 4) trade.currencyAmount = bound(other, 1, type(uint256).max);
        if (field == 5) trade.expiresAt = uint64(bound(other, block.timestamp + 1, type(uint64).max));
        if (field == 6) trade.nonce = bytes32(other);
        vm.assume(settlement.tradeId(trade) != id && trade.asset != trade.currency);
        vm.expectRevert(abi.encodeWithSelector(Settlement.ConsentMissing.selector, seller));
        settlement.settle(trade, first, second);
        _assertUnmoved();
    }

    function test_a_trade_settles_once() public {
        _settle(_trade());
        _settleFails(
            _trade(), abi.encodeWithSelector(Settlement.NonceUsed.selector, seller, buyer, bytes32("first"))
        );
        assertEq(asset.balanceOf(buyer), 100, "once");
    }

    function test_a_nonce_serves_one_trade_of_the_pair() public {
        _settle(_trade());
        Settlement.Trade memory trade = _trade();
        trade.assetAmount = 5;
        _settleFails(
            trade, abi.encodeWithSelector(Settlement.NonceUsed.selector, seller, buyer, bytes32("first"))
        );
        assertEq(settlement.nonceUsed(buyer, seller, "first"), false, "the reverse pair is another");
    }

    function test_a_signature_for_another_contract_is_none() public {
        Settlement other = new Settlement();
        Settlement.Trade memory trade = _trade();
        bytes32 id = other.tradeId(trade);
        bytes memory first = _sign(SELLER_KEY, id);
        bytes memory second = _sign(BUYER_KEY, id);
        vm.expectRevert(abi.encodeWithSelector(Settlement.ConsentMissing.selector, seller));
        settlement.settle(trade, first, second);
    }

    function test_a_signature_for_another_chain_is_none() public {
        Settlement.Trade memory trade = _trade();
        bytes32 domain = keccak256(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        );
        bytes32 struct_ = keccak256(abi.encode(settlement.TRADE_TYPEHASH(), trade));
        bytes32 here = keccak256(
            abi.encode(domain, keccak256("Settlement"), keccak256("1"), block.chainid, address(settlement))
        );
        bytes32 there = keccak256(
            abi.encode(domain, keccak256("Settlement"), keccak256("1"), block.chainid + 1, address(settlement))
        );
        assertEq(settlement.tradeId(trade), keccak256(abi.encodePacked(hex"1901", here, struct_)), "the digest");
        bytes32 id = keccak256(abi.encodePacked(hex"1901", there, struct_));
        bytes memory first = _sign(SELLER_KEY, id);
        bytes memory second = _sign(BUYER_KEY, id);
        vm.expectRevert(abi.encodeWithSelector(Settlement.ConsentMissing.selector, seller));
        settlement.settle(trade, first, second);
    }

    function test_the_type_hash_is_that_of_the_fields() public view {
        assertEq(
            settlement.TRADE_TYPEHASH(),
            keccak256(
                "Trade(address seller,address buyer,address asset,uint256 assetAmount,bool deed,address currency,"
                "uint256 currencyAmount,uint64 expiresAt,bytes32 nonce)"
            ),
            "type"
        );
    }

    function test_an_expired_trade_is_dead(uint64 late) public {
        Settlement.Trade memory trade = _trade();
        uint64 expiresAt = trade.expiresAt;
        vm.warp(bound(late, expiresAt, type(uint64).max));
        _settleFails(trade, abi.encodeWithSelector(Settlement.TradeExpired.selector, expiresAt));
        vm.warp(expiresAt - 1);
        _settle(trade);
    }

    function test_nobody_trades_with_oneself() public {
        Settlement.Trade memory trade = _trade();
        trade.buyer = seller;
        _settleFails(trade, abi.encodeWithSelector(Settlement.TradeWithOneself.selector, seller));
    }

    function test_both_legs_move_something_and_not_the_same() public {
        bytes memory reason = abi.encodeWithSelector(Settlement.TradeOneSided.selector);
        Settlement.Trade memory trade = _trade();
        trade.assetAmount = 0;
        _settleFails(trade, reason);
        trade = _trade();
        trade.currencyAmount = 0;
        _settleFails(trade, reason);
        trade = _trade();
        trade.asset = trade.currency;
        _settleFails(trade, reason);
    }

    function test_the_zero_address_never_consents() public {
        Settlement.Trade memory trade = _trade();
        trade.seller = address(0);
        bytes memory second = _sign(BUYER_KEY, settlement.tradeId(trade));
        vm.expectRevert(abi.encodeWithSelector(Settlement.ConsentMissing.selector, address(0)));
        settlement.settle(trade, new bytes(65), second);
    }

    function test_without_currency_the_asset_stays() public {
        Settlement.Trade memory trade = _trade();
        trade.currencyAmount = 5001;
        _settleFails(
            trade, abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, buyer, 5000, 5001)
        );
        _assertUnmoved();
        assertEq(settlement.nonceUsed(seller, buyer, "first"), false, "the nonce is free again");
    }

    function test_without_the_asset_the_currency_stays() public {
        Settlement.Trade memory trade = _trade();
        trade.assetAmount = 1001;
        _settleFails(
            trade, abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, seller, 1000, 1001)
        );
        _assertUnmoved();
    }

    function test_an_approval_is_needed_from_each() public {
        vm.prank(seller);
        asset.approve(address(settlement), 99);
        _settleFails(
            _trade(),
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(settlement), 99, 100)
        );
        vm.prank(seller);
        asset.approve(address(settlement), 100);
        vm.prank(buyer);
        currency.approve(address(settlement), 249);
        _settleFails(
            _trade(),
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(settlement), 249, 250)
        );
        _assertUnmoved();
    }

    function test_a_deed_of_somebody_else_is_refused() public {
        deeds.mint(STRANGER, 8);
        vm.prank(STRANGER);
        deeds.approve(address(settlement), 8);
        Settlement.Trade memory trade = _trade();
        (trade.asset, trade.assetAmount, trade.deed) = (address(deeds), 8, true);
        _settleFails(
            trade, abi.encodeWithSelector(IERC721Errors.ERC721IncorrectOwner.selector, seller, 8, STRANGER)
        );
    }

    function test_a_deed_that_stays_is_refused() public {
        StuckDeeds stuck = new StuckDeeds();
        stuck.mint(seller, 7);
        Settlement.Trade memory trade = _trade();
        (trade.asset, trade.assetAmount, trade.deed) = (address(stuck), 7, true);
        _settleFails(trade, abi.encodeWithSelector(Settlement.LegNotExact.selector, address(stuck)));
        _assertUnmoved();
    }

    function test_units_are_no_deed() public {
        Settlement.Trade memory trade = _trade();
        trade.deed = true;
        bytes32 id = settlement.tradeId(trade);
        bytes memory first = _sign(SELLER_KEY, id);
        bytes memory second = _sign(BUYER_KEY, id);
        vm.expectRevert();
        settlement.settle(trade, first, second);
        _assertUnmoved();
    }

    function test_an_address_without_code_is_no_asset() public {
        Settlement.Trade memory trade = _trade();
        trade.asset = address(0xE0A);
        bytes32 id = settlement.tradeId(trade);
        bytes memory first = _sign(SELLER_KEY, id);
        bytes memory second = _sign(BUYER_KEY, id);
        vm.expectRevert();
        settlement.settle(trade, first, second);
        _assertUnmoved();
    }

    function _funded(Currency token) private returns (Settlement.Trade memory trade) {
        token.mint(seller, 1000);
        token.mint(buyer, 1000);
        vm.prank(seller);
        token.approve(address(settlement), type(uint256).max);
        vm.prank(buyer);
        token.approve(address(settlement), type(uint256).max);
        return _trade();
    }

    function test_a_fee_on_either_leg_is_refused() public {
        FeeCurrency fee = new FeeCurrency();
        bytes memory reason = abi.encodeWithSelector(Settlement.LegNotExact.selector, address(fee));
        Settlement.Trade memory trade = _funded(fee);
        trade.currency = address(fee);
        _settleFails(trade, reason);
        trade = _trade();
        trade.asset = address(fee);
        _settleFails(trade, reason);
        _assertUnmoved();
    }

    function test_a_charge_on_top_is_refused() public {
        SurchargeCurrency charge = new SurchargeCurrency();
        Settlement.Trade memory trade = _funded(charge);
        charge.charge();
        trade.currency = address(charge);
        _settleFails(trade, abi.encodeWithSelector(Settlement.LegNotExact.selector, address(charge)));
        _assertUnmoved();
    }

    function test_a_currency_that_lies_is_refused() public {
        LyingCurrency liar = new LyingCurrency();
        Settlement.Trade memory trade = _funded(liar);
        liar.lie();
        trade.currency = address(liar);
        _settleFails(trade, abi.encodeWithSelector(Settlement.LegNotExact.selector, address(liar)));
        _assertUnmoved();
    }

    function test_a_currency_that_answers_nothing_is_taken() public {
        SilentCurrency silent = new SilentCurrency();
        silent.mint(buyer, 250);
        Settlement.Trade memory trade = _trade();
        trade.currency = address(silent);
        _settle(trade);
        assertEq(silent.balanceOf(seller), 250, "paid");
    }

    function test_nothing_settles_in_the_middle_of_a_trade() public {
        HookCurrency hook = new HookCurrency();
        Settlement.Trade memory inner = _trade();
        inner.nonce = "inner";
        bytes32 id = settlement.tradeId(inner);
        bytes memory call = abi.encodeCall(
            settlement.settle, (inner, _sign(SELLER_KEY, id), _sign(BUYER_KEY, id))
        );
        Settlement.Trade memory trade = _funded(hook);
        trade.currency = address(hook);
        hook.arm(address(settlement), call);
        _settle(trade);
        assertEq(hook.entered(), false, "the second entry");
        assertEq(
            bytes32(hook.answer()), bytes32(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector), "why"
        );
        assertEq(asset.balanceOf(buyer), 100, "once");
    }

    function test_a_party_withdraws(bool bySeller) public {
        Settlement.Trade memory trade = _trade();
        address party = bySeller ? seller : buyer;
        vm.expectEmit(address(settlement));
        emit Settlement.Cancelled(settlement.tradeId(trade), seller, buyer, "first", party);
        vm.prank(party);
        settlement.cancel(trade);
        bytes memory reason =
            abi.encodeWithSelector(Settlement.NonceUsed.selector, seller, buyer, bytes32("first"));
        _settleFails(trade, reason);
        vm.expectRevert(reason);
        vm.prank(party);
        settlement.cancel(trade);
        _assertUnmoved();
    }

    function test_a_settled_trade_is_not_withdrawn() public {
        Settlement.Trade memory trade = _trade();
        _settle(trade);
        vm.expectRevert(abi.encodeWithSelector(Settlement.NonceUsed.selector, seller, buyer, bytes32("first")));
        vm.prank(buyer);
        settlement.cancel(trade);
    }

    function test_a_stranger_withdraws_nothing(address caller) public {
        vm.assume(caller != seller && caller != buyer);
        Settlement.Trade memory trade = _trade();
        vm.expectRevert(abi.encodeWithSelector(Settlement.NotParty.selector, caller));
        vm.prank(caller);
        settlement.cancel(trade);
        // A stranger's own trade with the buyer burns a nonce of those two, not of the seller and the buyer.
        if (caller != address(0)) {
            Settlement.Trade memory own = _trade();
            own.seller = caller;
            vm.prank(caller);
            settlement.cancel(own);
        }
        _settle(trade);
    }

    function test_what_moves_is_what_was_agreed(uint256 units, uint256 price) public {
        units = bound(units, 1, 1000);
        price = bound(price, 1, 5000);
        Settlement.Trade memory trade = _trade();
        (trade.assetAmount, trade.currencyAmount) = (units, price);
        _settle(trade);
        assertEq(asset.balanceOf(buyer), units, "units");
        assertEq(asset.balanceOf(seller), 1000 - units, "units left");
        assertEq(currency.balanceOf(seller), price, "price");
        assertEq(currency.balanceOf(buyer), 5000 - price, "money left");
    }

    function test_the_domain() public view {
        (, string memory name, string memory version, uint256 chain, address self,,) = settlement.eip712Domain();
        assertEq(name, "Settlement", "name");
        assertEq(version, "1", "version");
        assertEq(chain, block.chainid, "chain");
        assertEq(self, address(settlement), "contract");
    }
}

/// @dev Two parties who trade, withdraw and repeat in any order.
contract SettlementHandler is Harness {
    Settlement public settlement = new Settlement();
    Currency public asset = new Currency();
    Currency public currency = new Currency();
    uint256[2] public keys = [uint256(0xA11CE), 0xB0B];
    uint256 public settled;
    uint256 public assetSold;
    uint256 public currencyPaid;
    uint256 public twice;
    mapping(bytes32 nonce => bool) private _done;

    constructor() {
        asset.mint(vm.addr(keys[0]), 1e6);
        currency.mint(vm.addr(keys[1]), 1e6);
        vm.prank(vm.addr(keys[0]));
        asset.approve(address(settlement), type(uint256).max);
        vm.prank(vm.addr(keys[1]));
        currency.approve(address(settlement), type(uint256).max);
    }

    function trade(uint256 units, uint256 price, uint8 nonce, bool signed, bool late) external {
        Settlement.Trade memory terms = _terms(bound(units, 0, 1e5), bound(price, 0, 1e5), nonce, late);
        bytes32 id = settlement.tradeId(terms);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keys[0], id);
        bytes memory first = abi.encodePacked(r, s, v);
        (v, r, s) = vm.sign(keys[signed ? 1 : 0], id);
        settlement.settle(terms, first, abi.encodePacked(r, s, v));
        if (_done[terms.nonce] || !signed || late) ++twice;
        _done[terms.nonce] = true;
        ++settled;
        assetSold += terms.assetAmount;
        currencyPaid += terms.currencyAmount;
    }

    function cancel(uint8 nonce, bool seller) external {
        Settlement.Trade memory terms = _terms(1, 1, nonce, false);
        vm.prank(vm.addr(keys[seller ? 0 : 1]));
        settlement.cancel(terms);
        if (_done[terms.nonce]) ++twice;
        _done[terms.nonce] = true;
    }

    function _terms(
        uint256 units,
        uint256 price,
        uint8 nonce,
        bool late
    ) private view returns (Settlement.Trade memory) {
        return Settlement.Trade({
            seller: vm.addr(keys[0]),
            buyer: vm.addr(keys[1]),
            asset: address(asset),
            assetAmount: units,
            deed: false,
            currency: address(currency),
            currencyAmount: price,
            expiresAt: uint64(late ? block.timestamp : block.timestamp + 1),
            nonce: bytes32(uint256(nonce))
        });
    }
}

contract SettlementInvariants is Harness {
    SettlementHandler private handler;

    function setUp() public {
        handler = new SettlementHandler();
        targetContract(address(handler));
        bytes4[] memory selectors = new bytes4[](2);
        selectors[0] = SettlementHandler.trade.selector;
        selectors[1] = SettlementHandler.cancel.selector;
        targetSelector(FuzzSelector(address(handler), selectors));
    }

    function invariant_asset_and_currency_move_together_and_once() public view {
        address buyer = vm.addr(handler.keys(1));
        address seller = vm.addr(handler.keys(0));
        assertEq(handler.asset().balanceOf(buyer), handler.assetSold(), "asset");
        assertEq(handler.currency().balanceOf(seller), handler.currencyPaid(), "currency");
        assertEq(handler.asset().balanceOf(seller), 1e6 - handler.assetSold(), "asset left");
        assertEq(handler.currency().balanceOf(buyer), 1e6 - handler.currencyPaid(), "currency left");
        assertEq(handler.twice(), 0, "a nonce twice, unsigned or late");
    }

    function invariant_nothing_stays_in_the_contract() public view {
        address settlement = address(handler.settlement());
        assertEq(handler.asset().balanceOf(settlement), 0, "asset");
        assertEq(handler.currency().balanceOf(settlement), 0, "currency");
    }
}
