// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IERC6372} from "@openzeppelin/contracts/interfaces/IERC6372.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {ERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";
import {Authorized} from "./parts/Authorized.sol";
import {Operations} from "./parts/Operations.sol";
import {AuthorityMissing} from "./parts/TokenTerms.sol";

/// @notice What a governance token is made with.
/// @param name The asset's name, of any length.
/// @param symbol The short name shown beside amounts.
/// @param decimals How many decimal places of display one unit has; it changes no arithmetic.
/// @param authority The contract that decides who may mint and burn.
/// @param cap The largest supply in base units: 1 to 2**208 - 1, because that is what a vote checkpoint holds.
/// @param assetId Which asset it is.
struct GovernanceTerms {
    string name;
    string symbol;
    uint8 decimals;
    address authority;
    uint256 cap;
    bytes32 assetId;
}

/// @title Votes on one asset, as units that can be held, moved and delegated.
/// @notice ERC-20 with ERC-5805 votes counted by block number, a cap on the supply, signed approvals (ERC-2612), and
/// acts that a holder signs and anyone sends: transfers, batches, approvals and delegations.
/// @dev A unit votes only once its holder delegated, to oneself or to another. There is no pause: whoever may pause
/// could decide a vote by it. The EIP-712 domain is ("GovernanceToken", "1", chain id, this contract).
contract GovernanceToken is ERC20Capped, ERC20Permit, ERC20Votes, Authorized, AccessManaged, Operations, ERC165 {
    /// @dev A constant, because OpenZeppelin's EIP712 keeps 31 bytes at most and an asset's name may be longer.
    string private constant DOMAIN_NAME = "GovernanceToken";

    bytes32 private constant DELEGATE_TYPEHASH = keccak256(
        "DelegateWithAuthorization(address delegator,address delegatee,"
        "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    uint8 private immutable _decimals;

    /// @notice Which asset the votes belong to.
    bytes32 public immutable assetId;

    /// @notice Makes the token.
    /// @param terms What it is made with.
    constructor(GovernanceTerms memory terms)
        ERC20(terms.name, terms.symbol)
        ERC20Capped(terms.cap)
        ERC20Permit(DOMAIN_NAME)
        AccessManaged(terms.authority)
    {
        require(terms.authority.code.length != 0, AuthorityMissing());
        require(terms.cap <= type(uint208).max, ERC20InvalidCap(terms.cap));
        _decimals = terms.decimals;
        assetId = terms.assetId;
    }

    /// @notice Creates `amount` units for `to`.
    /// @param to The receiver; not the zero address.
    /// @param amount Base units; the supply stays within the cap.
    /// @param operationId The id to burn; not zero.
    function mint(address to, uint256 amount, bytes32 operationId) external restricted once(operationId) {
        _mint(to, amount);
    }

    /// @notice Creates units for several receivers, all or none.
    /// @param to The receivers.
    /// @param amounts Base units for each of them.
    /// @param operationId The id to burn; not zero.
    function batchMint(
        address[] calldata to,
        uint256[] calldata amounts,
        bytes32 operationId
    ) external restricted once(operationId) {
        _requireSameLength(to.length, amounts.length);
        for (uint256 i = 0; i < to.length; ++i) _mint(to[i], amounts[i]);
    }

    /// @notice Destroys `amount` units of `from`, without its consent. Votes on proposals whose snapshot is past stay.
    /// @param from Any holder.
    /// @param amount Base units, at most the holder's balance.
    /// @param operationId The id to burn; not zero.
    function burn(address from, uint256 amount, bytes32 operationId) external restricted once(operationId) {
        _burn(from, amount);
    }

    /// @notice Lets `delegatee` vote with the signer's units. Unlike `delegateBySig` it takes a free nonce, so that
    /// signatures need no order among themselves.
    /// @param delegator The signer.
    /// @param delegatee Who votes from now on; zero for nobody.
    /// @param validAfter The signature serves after this time (seconds).
    /// @param validBefore The signature serves before this time (seconds).
    /// @param nonce Any value that the signer never used in an authorization.
    /// @param v The signature's recovery id.
    /// @param r The signature's first word.
    /// @param s The signature's second word.
    function delegateWithAuthorization(
        address delegator,
        address delegatee,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes32 structHash =
            keccak256(abi.encode(DELEGATE_TYPEHASH, delegator, delegatee, validAfter, validBefore, nonce));
        _requireSignature(delegator, structHash, v, r, s);
        _useAuthorization(delegator, validAfter, validBefore, nonce);
        _delegate(delegator, delegatee);
    }

    /// @notice How many decimal places of display one unit has.
    /// @return The number given at deployment.
    function decimals() public view override returns (uint8) {
        return _decimals;
    }

    /// @notice The next sequential nonce of `owner`, which `permit` and `delegateBySig` share.
    /// @param owner The signer.
    /// @return The nonce that the next such signature must hold.
    function nonces(address owner) public view override(ERC20Permit, Nonces) returns (uint256) {
        return super.nonces(owner);
    }

    /// @notice Whether the contract implements `interfaceId` (ERC-165).
    /// @param interfaceId ERC-165, ERC-20, its metadata, ERC-2612, the votes of ERC-5805 and ERC-6372 are true.
    /// @return True if it does.
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return
            interfaceId == type(IERC20).interfaceId ||
            interfaceId == type(IERC20Metadata).interfaceId ||
            interfaceId == type(IERC20Permit).interfaceId ||
            interfaceId == type(IVotes).interfaceId ||
            interfaceId == type(IERC6372).interfaceId ||
            super.supportsInterface(interfaceId);
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Capped, ERC20Votes) {
        super._update(from, to, value);
    }
}
