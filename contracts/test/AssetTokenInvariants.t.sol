// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AssetToken} from "../AssetToken.sol";
import {AssetTokenHandler} from "./AssetTokenHandler.sol";
import {FakeRegistry, TokenFixture} from "./AssetTokenMocks.sol";

contract AssetTokenInvariantsTest is TokenFixture {
    AssetToken private token;
    FakeRegistry private registry;
    AssetTokenHandler private handler;

    function setUp() public {
        vm.warp(NOW);
        registry = new FakeRegistry();
        token = new AssetToken(terms(address(registry), address(0)));
        handler = new AssetTokenHandler(token, registry);
        authority.allow(address(handler));
        handler.mint(0, 1e21);
        handler.mint(1, 1e21);
        targetContract(address(handler));
    }

    function invariant_the_supply_is_the_sum_of_the_balances() public view {
        uint256 sum;
        for (uint256 i = 0; i < handler.actorCount(); ++i) sum += token.balanceOf(handler.actor(i));
        assertEq(token.totalSupply(), sum, "sum");
        assertEq(token.totalSupply(), handler.minted() - handler.gone(), "minted less what is gone");
    }

    function invariant_no_law_was_broken() public view {
        assertEq(handler.broken(), "", handler.broken());
    }

    function invariant_the_registry_was_told_every_balance() public view {
        for (uint256 i = 0; i < handler.actorCount(); ++i)
            assertEq(token.balanceOf(handler.actor(i)), registry.told(handler.actor(i)), "told");
    }

    function test_the_handler_moves_something() public {
        handler.transfer(0, 1, 5);
        handler.signed(0, 1, 5);
        handler.transferFrom(2, 0, 1, 5);
        handler.batch(0, 1, 5);
        handler.redeem(0, 5);
        assertEq(handler.moves(), 4, "moves");
        assertEq(handler.gone(), 5, "redeemed");
        assertEq(handler.broken(), "", handler.broken());
    }
}
