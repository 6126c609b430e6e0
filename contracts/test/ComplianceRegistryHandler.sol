// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {RegistryFixture} from "./RegistryFixture.sol";
import {RegistryToken} from "./RegistryToken.sol";

/// @dev Does at random what a token, an attester and a compliance officer may do; always with correct lists.
contract ComplianceRegistryHandler is RegistryFixture {
    uint256 public constant WALLETS = 12;
    uint256 public constant TOKENS = 3;
    uint256 public constant INVESTORS = 4;

    RegistryToken[] public tokens;
    bytes32[] public investors;
    uint16[] public countries;
    uint256 public moves;

    constructor() {
        prepare();
        for (uint256 i = 0; i < TOKENS; ++i) {
            tokens.push(newToken());
            openPolicy(address(tokens[i]));
        }
        // The lists must be ascending.
        for (uint256 i = 0; i < TOKENS; ++i)
            for (uint256 j = i + 1; j < TOKENS; ++j)
                if (address(tokens[j]) < address(tokens[i])) (tokens[i], tokens[j]) = (tokens[j], tokens[i]);
        for (uint256 i = 0; i < INVESTORS; ++i) investors.push(keccak256(abi.encode("investor", i)));
        countries = [0, 276, 250, 1023];
    }

    function mint(uint256 token, uint256 to, uint256 amount) external {
        tokens[token % TOKENS].mint(wallet(to), amount % 50);
        ++moves;
    }

    function transfer(uint256 token, uint256 from, uint256 to, uint256 amount) external {
        RegistryToken moved = tokens[token % TOKENS];
        moved.transfer(wallet(from), wallet(to), portion(moved, from, amount));
        ++moves;
    }

    function redeem(uint256 token, uint256 from, uint256 amount) external {
        RegistryToken moved = tokens[token % TOKENS];
        moved.redeem(wallet(from), portion(moved, from, amount));
        ++moves;
    }

    function force(uint256 token, uint256 from, uint256 to, uint256 amount) external {
        RegistryToken moved = tokens[token % TOKENS];
        moved.force(wallet(from), to % 5 == 0 ? address(0) : wallet(to), portion(moved, from, amount));
        ++moves;
    }

    function linkAnew(uint256 account, uint256 investor) external {
        address linked = wallet(account);
        registry.linkWallet(linked, investorAt(investor), tokensOfWallet(linked), nextId());
        ++moves;
    }

    function unlink(uint256 account) external {
        address linked = wallet(account);
        registry.linkWallet(linked, 0, tokensOfWallet(linked), nextId());
        ++moves;
    }

    function attest(uint256 investor, uint256 country, uint8 level) external {
        bytes32 id = investorAt(investor);
        registry.setIdentity(id, countries[country % countries.length], level, 0, tokensOfInvestor(id), nextId());
        ++moves;
    }

    function rule(uint256 token, uint32 holdersMax, uint32 countryHoldersMax, uint256 holdingMax) external {
        setPolicy(
            address(tokens[token % TOKENS]),
            0,
            0,
            holdersMax % 8,
            countryHoldersMax % 6,
            holdingMax % 200,
            new uint16[](0)
        );
    }

    function lock(uint256 token, uint256 investor, uint256 amount) external {
        lot(address(tokens[token % TOKENS]), investorAt(investor), amount % 30, NOW + 1);
    }

    function ban(uint256 investor, bool blocked) external {
        registry.setBlocked(investorAt(investor), blocked && investor % 3 == 0, 0, nextId());
    }

    function registryAt() external view returns (address) {
        return address(registry);
    }

    function wallet(uint256 index) public pure returns (address) {
        return address(uint160(0x1000 + (index % WALLETS)));
    }

    function investorAt(uint256 index) public view returns (bytes32) {
        return investors[index % INVESTORS];
    }

    /// @dev All of it every third time: then somebody ceases to be a holder.
    function portion(RegistryToken token, uint256 from, uint256 amount) private view returns (uint256) {
        uint256 balance = token.balanceOf(wallet(from));
        return amount % 3 == 0 ? balance : amount % (balance + 1);
    }

    function tokensOfWallet(address account) private view returns (address[] memory list) {
        list = new address[](TOKENS);
        uint256 length;
        for (uint256 i = 0; i < TOKENS; ++i)
            if (tokens[i].balanceOf(account) != 0) list[length++] = address(tokens[i]);
        cut(list, length);
    }

    function tokensOfInvestor(bytes32 investor) private view returns (address[] memory list) {
        list = new address[](TOKENS);
        uint256 length;
        for (uint256 i = 0; i < TOKENS; ++i)
            if (registry.holding(address(tokens[i]), investor) != 0) list[length++] = address(tokens[i]);
        cut(list, length);
    }

    function cut(address[] memory list, uint256 length) private pure {
        assembly ("memory-safe") {
            mstore(list, length)
        }
    }
}
