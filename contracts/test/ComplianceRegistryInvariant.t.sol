// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {ComplianceRegistry} from "../ComplianceRegistry.sol";
import {ComplianceRegistryHandler} from "./ComplianceRegistryHandler.sol";
import {Harness} from "./Harness.sol";
import {RegistryToken} from "./RegistryToken.sol";

/// @dev Whatever happened: every counter is what a recount of all balances gives.
contract ComplianceRegistryInvariantTest is Harness {
    uint256 private constant WALLETS = 12;
    uint256 private constant TOKENS = 3;
    uint256 private constant INVESTORS = 4;
    uint256 private constant COUNTRIES = 4;

    ComplianceRegistryHandler private handler;
    ComplianceRegistry private registry;
    RegistryToken[TOKENS] private tokens;
    uint16[COUNTRIES] private countries;

    function setUp() public {
        handler = new ComplianceRegistryHandler();
        registry = ComplianceRegistry(handler.registryAt());
        assertEq(handler.WALLETS(), WALLETS, "wallets");
        assertEq(handler.INVESTORS(), INVESTORS, "investors");
        for (uint256 i = 0; i < TOKENS; ++i) tokens[i] = handler.tokens(i);
        for (uint256 i = 0; i < COUNTRIES; ++i) countries[i] = handler.countries(i);
        bytes4[] memory selectors = new bytes4[](11);
        selectors[0] = handler.mint.selector;
        selectors[1] = handler.transfer.selector;
        selectors[2] = handler.redeem.selector;
        selectors[3] = handler.force.selector;
        selectors[4] = handler.linkAnew.selector;
        selectors[5] = handler.unlink.selector;
        selectors[6] = handler.attest.selector;
        selectors[7] = handler.rule.selector;
        selectors[8] = handler.lock.selector;
        selectors[9] = handler.ban.selector;
        // Twice: without units nothing can go wrong.
        selectors[10] = handler.mint.selector;
        targetContract(address(handler));
        targetSelector(FuzzSelector(address(handler), selectors));
    }

    function invariant_every_counter_equals_a_recount() public view {
        // The investors first, then each wallet as an investor of its own.
        bytes32[] memory ids = new bytes32[](INVESTORS + WALLETS);
        uint256[TOKENS][] memory held = new uint256[TOKENS][](ids.length);
        for (uint256 i = 0; i < INVESTORS; ++i) ids[i] = handler.investors(i);
        for (uint256 w = 0; w < WALLETS; ++w) {
            address wallet = handler.wallet(w);
            ids[INVESTORS + w] = bytes32(uint256(uint160(wallet)));
            uint256 owner = ownerOf(ids, wallet, INVESTORS + w);
            uint256 count;
            for (uint256 t = 0; t < TOKENS; ++t) {
                uint256 balance = tokens[t].balanceOf(wallet);
                held[owner][t] += balance;
                if (balance != 0) ++count;
            }
            assertEq(registry.tokensOfWallet(wallet), count, "wallet's tokens");
        }
        uint256[COUNTRIES][TOKENS] memory ofCountry;
        for (uint256 i = 0; i < ids.length; ++i) {
            uint256 country = countryOf(ids[i]);
            uint256 count;
            for (uint256 t = 0; t < TOKENS; ++t) {
                assertEq(registry.holding(address(tokens[t]), ids[i]), held[i][t], "holding");
                if (held[i][t] == 0) continue;
                ++ofCountry[t][country];
                ++count;
            }
            assertEq(registry.tokensOfInvestor(ids[i]), count, "investor's tokens");
        }
        for (uint256 t = 0; t < TOKENS; ++t) {
            uint256 holders;
            for (uint256 c = 0; c < COUNTRIES; ++c) {
                (uint32 counted, ) = registry.countryHolders(address(tokens[t]), countries[c]);
                assertEq(counted, ofCountry[t][c], "country's holders");
                holders += counted;
            }
            assertEq(registry.holders(address(tokens[t])), holders, "holders");
        }
    }

    /// @dev An invariant over actions that all failed would say nothing.
    function test_the_handler_does_something() public {
        handler.mint(0, 1, 7);
        handler.linkAnew(1, 2);
        handler.attest(2, 1, 1);
        handler.transfer(0, 1, 2, 3);
        handler.force(0, 2, 3, 0);
        handler.unlink(1);
        assertEq(handler.moves(), 6, "moves");
        invariant_every_counter_equals_a_recount();
    }

    function ownerOf(bytes32[] memory ids, address wallet, uint256 own) private view returns (uint256) {
        bytes32 investor = registry.investorOf(wallet);
        for (uint256 i = 0; i < INVESTORS; ++i) if (ids[i] == investor) return i;
        return own;
    }

    function countryOf(bytes32 id) private view returns (uint256 index) {
        uint16 country = registry.identity(id).country;
        while (countries[index] != country) ++index;
    }
}
