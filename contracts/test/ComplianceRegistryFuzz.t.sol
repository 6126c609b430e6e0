// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {ComplianceRegistry} from "../ComplianceRegistry.sol";
import {Restriction, Restrictions, TransferRestricted} from "../parts/Restrictions.sol";
import {RegistryFixture} from "./RegistryFixture.sol";
import {RegistryToken} from "./RegistryToken.sol";

/// @dev Whatever the state: what `check` says is what `onTransfer` does, and what a rule forbids never comes about.
contract ComplianceRegistryFuzzTest is RegistryFixture {
    RegistryToken private token;
    address private tokenAt;
    uint256 private seed;
    bytes32[3] private investors = [ALICE, BOB, CAROL];
    uint16[4] private countries = [0, GERMANY, FRANCE, USA];

    function setUp() public {
        prepare();
        token = newToken();
        tokenAt = address(token);
        openPolicy(tokenAt);
    }

    function testFuzz_check_and_onTransfer_agree(uint256 seed_) public {
        seed = seed_;
        arrange();
        for (uint256 i = 0; i < 6; ++i) compare(pick(3) == 0 ? address(0) : wallet(), end(), end());
    }

    /// @dev Few wallets, so that every move between two of them is tried in many states.
    function testFuzz_the_views_on_one_account_agree_with_check(uint256 seed_) public {
        seed = seed_;
        arrange();
        for (uint256 i = 0; i < 4; ++i) {
            address account = wallet();
            bool sends = registry.check(tokenAt, address(0), account, address(0), 0).code == Restrictions.ALLOWED;
            bool receives = registry.check(tokenAt, address(0), address(0), account, 0).code == Restrictions.ALLOWED;
            assertEq(registry.canSend(tokenAt, account), sends, "canSend");
            assertEq(registry.canReceive(tokenAt, account), receives, "canReceive");
        }
    }

    function testFuzz_check_never_reverts(
        address token_,
        address spender,
        address from,
        address to,
        uint256 amount,
        uint256 seed_
    ) public {
        seed = seed_;
        arrange();
        registry.check(token_, spender, from, to, amount);
        registry.check(tokenAt, spender, from, to, amount);
        registry.check(tokenAt, wallet(), end(), end(), amount);
        registry.canSend(token_, from);
        registry.canReceive(tokenAt, to);
    }

    /// @dev A random token with a history, then random rules: so that limits may be exceeded already.
    function arrange() private {
        for (uint256 i = 0; i < investors.length; ++i) {
            uint64 expiresAt = pick(3) == 0 ? uint64(NOW - 1 + pick(3)) : 0;
            identify(investors[i], countries[pick(4)], uint8(pick(4)), expiresAt);
        }
        for (uint160 i = 1; i <= 6; ++i) if (pick(4) != 0) link(address(i), investors[pick(3)]);
        for (uint256 i = 0; i < 5; ++i) token.mint(wallet(), pick(3) * 10);
        if (pick(2) == 0) lot(tokenAt, investors[pick(3)], pick(30), uint64(NOW - 1 + pick(3)));
        if (pick(3) == 0) registry.setBlocked(investors[pick(3)], true, 0, nextId());
        if (pick(8) == 0) registry.setBlocked(walletId(address(1)), true, 0, nextId());
        if (pick(3) == 0) registry.setCountryHoldersMax(tokenAt, countries[pick(4)], uint32(pick(3)), nextId());
        setPolicy(
            tokenAt,
            uint8(pick(2) == 0 ? 0 : pick(3)),
            uint8(pick(2) == 0 ? 0 : pick(3)),
            uint32(pick(2) == 0 ? 0 : pick(5)),
            uint32(pick(2) == 0 ? 0 : pick(4)),
            pick(2) == 0 ? 0 : pick(50),
            countries1(countries[1 + pick(3)])
        );
    }

    function compare(address spender, address from, address to) private {
        uint256 amount = from == address(0) ? pick(30) : pick(token.balanceOf(from) + 1);
        // All of it is the case in which somebody ceases to be a holder.
        if (from != address(0) && pick(3) == 0) amount = token.balanceOf(from);
        Restriction memory found = registry.check(tokenAt, spender, from, to, amount);
        uint256 holders = registry.holders(tokenAt);
        (bool done, bytes memory answer) = tokenAt.call(
            abi.encodeCall(RegistryToken.transferBy, (spender, from, to, amount))
        );
        assertEq(done, found.code == Restrictions.ALLOWED, "verdict");
        if (!done) {
            bytes memory expected = abi.encodeWithSelector(
                TransferRestricted.selector,
                found.code,
                found.account,
                found.limit,
                found.actual
            );
            assertEq(keccak256(answer), keccak256(expected), "reason");
            return;
        }
        (, ComplianceRegistry.Policy memory rules) = registry.policy(tokenAt);
        uint256 after_ = registry.holders(tokenAt);
        assertTrue(rules.holdersMax == 0 || after_ <= holders || after_ <= rules.holdersMax, "holders");
        if (to == address(0) || from == to || amount == 0) return;
        bytes32 receiver = investorId(to);
        if (from == address(0) || investorId(from) != receiver) {
            assertTrue(
                rules.holdingMax == 0 || registry.holding(tokenAt, receiver) <= rules.holdingMax,
                "holding"
            );
        }
        if (from != address(0) && investorId(from) != receiver) {
            assertTrue(
                registry.holding(tokenAt, investorId(from)) >= registry.locked(tokenAt, investorId(from)),
                "locked"
            );
        }
    }

    function investorId(address account) private view returns (bytes32 id) {
        id = registry.investorOf(account);
        if (id == 0) id = walletId(account);
    }

    function wallet() private returns (address) {
        return address(uint160(1 + pick(6)));
    }

    /// @dev Now and then a mint or a redemption.
    function end() private returns (address) {
        return pick(5) == 0 ? address(0) : wallet();
    }

    function pick(uint256 count) private returns (uint256) {
        seed = uint256(keccak256(abi.encode(seed)));
        return seed % count;
    }
}
