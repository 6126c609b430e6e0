// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";
import {VotesExtended} from "@openzeppelin/contracts/governance/utils/VotesExtended.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IERC6372} from "@openzeppelin/contracts/interfaces/IERC6372.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {AssetToken} from "./AssetToken.sol";
import {TokenTerms} from "./parts/TokenTerms.sol";

/// @title Fungible units of one asset, whose past balances the chain itself can tell.
/// @notice AssetToken with votes and with each holder's balance and delegate at any past block, for contracts that
/// need a record date. Each transfer costs more; who reads the past off chain needs the plain token only.
/// @dev The clock is the block number: blocks may share a timestamp, and then a time would name two balances. The
/// supply ends at 2**208 - 1. Units that nobody delegated have a past balance, but no votes.
// slither-disable-next-line unimplemented-functions ERC20Votes' side of the family implements it; solc would refuse otherwise
contract AssetTokenHistory is AssetToken, ERC20Votes, VotesExtended {
    /// @notice Makes the token.
    /// @param terms What it is made with; the authority must be a contract already.
    constructor(TokenTerms memory terms) AssetToken(terms) {}

    /// @inheritdoc AssetToken
    function transfer(address to, uint256 amount) public override(ERC20, AssetToken) returns (bool) {
        return super.transfer(to, amount);
    }

    /// @inheritdoc AssetToken
    function transferFrom(
        address from,
        address to,
        uint256 amount
    ) public override(ERC20, AssetToken) returns (bool) {
        return super.transferFrom(from, to, amount);
    }

    /// @inheritdoc AssetToken
    function decimals() public view override(ERC20, AssetToken) returns (uint8) {
        return super.decimals();
    }

    /// @notice Which nonce the next `permit` or `delegateBySig` of `owner` must carry.
    /// @param owner The signer.
    /// @return One sequence for both kinds of signature.
    function nonces(address owner) public view override(ERC20Permit, Nonces) returns (uint256) {
        return super.nonces(owner);
    }

    /// @notice Whether the contract implements `interfaceId` (ERC-165).
    /// @param interfaceId What AssetToken answers with true, and votes and their clock (ERC-6372) besides.
    /// @return True if it does.
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return
            interfaceId == type(IVotes).interfaceId ||
            interfaceId == type(IERC6372).interfaceId ||
            super.supportsInterface(interfaceId);
    }

    /// @dev Forced transfers and burns come through here too, and so move votes.
    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Votes) {
        super._update(from, to, value);
    }

    /// @inheritdoc Votes
    function _delegate(address account, address delegatee) internal override(Votes, VotesExtended) {
        super._delegate(account, delegatee);
    }

    /// @inheritdoc Votes
    // slither-disable-next-line dead-code Solidity demands the override of two bases
    function _transferVotingUnits(
        address from,
        address to,
        uint256 amount
    ) internal override(Votes, VotesExtended) {
        super._transferVotingUnits(from, to, amount);
    }
}
