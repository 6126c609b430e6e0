// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {Authorized} from "./parts/Authorized.sol";
import {Operations} from "./parts/Operations.sol";
import {AuthorityMissing} from "./parts/TokenTerms.sol";

/// @dev What a utility token is made with. decimals: places of display, which change no arithmetic; authority: the
/// contract that knows the permissions; cap: the most units that may exist at one time, not zero.
struct UtilityTerms {
    string name;
    string symbol;
    uint8 decimals;
    address authority;
    uint256 cap;
    bytes32 assetId;
}

/// @title Units that pay for a service.
/// @notice ERC-20 with a cap, signed approvals (ERC-2612) and signed acts (ERC-3009). Holders move units freely and
/// spend them, which destroys them and says for what. Nobody can freeze or move a holder's units.
/// @dev Not upgradeable. Amounts are base units. The EIP-712 domain is ("UtilityToken", "1", chain id, this contract).
contract UtilityToken is ERC20Capped, ERC20Permit, Authorized, Pausable, AccessManaged, Operations, IERC165 {
    /// @dev A constant, because OpenZeppelin's EIP712 keeps 31 bytes at most here and a name may be longer.
    string private constant DOMAIN_NAME = "UtilityToken";

    bytes32 private constant SPEND_TYPEHASH =
        keccak256(
            "SpendWithAuthorization(address account,uint256 amount,bytes32 ref,"
            "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );

    uint8 private immutable _decimals;
    bytes32 private immutable _assetId;

    /// @notice A holder spent units.
    /// @param account The former holder.
    /// @param amount Base units, which are gone.
    /// @param ref What they paid for.
    event Spent(address indexed account, uint256 amount, bytes32 indexed ref);

    /// @notice Makes the token.
    /// @param terms What it is made with; the authority must be a contract already.
    constructor(
        UtilityTerms memory terms
    )
        ERC20(terms.name, terms.symbol)
        ERC20Capped(terms.cap)
        ERC20Permit(DOMAIN_NAME)
        AccessManaged(terms.authority)
    {
        require(terms.authority.code.length != 0, AuthorityMissing());
        _decimals = terms.decimals;
        _assetId = terms.assetId;
    }

    /// @notice Creates `amount` units for `to`.
    /// @param to The receiver; not the zero address.
    /// @param amount Base units; the total supply stays within the cap.
    /// @param operationId The id to burn; not zero.
    function mint(address to, uint256 amount, bytes32 operationId) external restricted once(operationId) {
        _mint(to, amount);
    }

    /// @notice Creates units for several receivers, all or none.
    /// @param to The receivers; not the zero address.
    /// @param amounts Base units for each receiver.
    /// @param operationId The id to burn; not zero.
    function batchMint(
        address[] calldata to,
        uint256[] calldata amounts,
        bytes32 operationId
    ) external restricted once(operationId) {
        _requireSameLength(to.length, amounts.length);
        for (uint256 i = 0; i < to.length; ++i) _mint(to[i], amounts[i]);
    }

    /// @notice Destroys `amount` units of `from`, without its consent.
    /// @param from Any holder.
    /// @param amount Base units, at most the holder's balance.
    /// @param operationId The id to burn; not zero.
    function burn(address from, uint256 amount, bytes32 operationId) external restricted once(operationId) {
        _burn(from, amount);
    }

    /// @notice Spends `amount` of the caller's units.
    /// @param amount Base units.
    /// @param ref What they pay for.
    function spend(uint256 amount, bytes32 ref) external {
        _spend(_msgSender(), amount, ref);
    }

    /// @notice Spends units as their holder signed.
    /// @param account The signer.
    /// @param amount Base units.
    /// @param ref What they pay for.
    /// @param validAfter The signature serves after this time (seconds).
    /// @param validBefore The signature serves before this time (seconds).
    /// @param nonce Any value that the holder never used.
    /// @param v The signature's recovery id.
    /// @param r The signature's first word.
    /// @param s The signature's second word.
    function spendWithAuthorization(
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
        bytes32 digest = keccak256(abi.encode(SPEND_TYPEHASH, account, amount, ref, validAfter, validBefore, nonce));
        _requireSignature(account, digest, v, r, s);
        _useAuthorization(account, validAfter, validBefore, nonce);
        _spend(account, amount, ref);
    }

    /// @notice Stops transfers, mints, burns, spending and their signed forms; not approvals.
    /// @param operationId The id to burn; not zero.
    function pause(bytes32 operationId) external restricted once(operationId) {
        _pause();
    }

    /// @notice Lets units move again.
    /// @param operationId The id to burn; not zero.
    function unpause(bytes32 operationId) external restricted once(operationId) {
        _unpause();
    }

    /// @notice Which asset the units belong to.
    /// @return The id given at deployment.
    function assetId() external view returns (bytes32) {
        return _assetId;
    }

    /// @notice Whether the contract implements `interfaceId` (ERC-165).
    /// @param interfaceId ERC-165, ERC-20, its metadata and ERC-2612 are answered with true.
    /// @return True if it does.
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return
            interfaceId == type(IERC165).interfaceId ||
            interfaceId == type(IERC20).interfaceId ||
            interfaceId == type(IERC20Metadata).interfaceId ||
            interfaceId == type(IERC20Permit).interfaceId;
    }

    /// @notice How many decimal places of display one unit has.
    /// @return The number given at deployment.
    function decimals() public view override returns (uint8) {
        return _decimals;
    }

    /// @dev Every change of a balance comes through here, so the pause and the cap stop all of them.
    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Capped) whenNotPaused {
        super._update(from, to, value);
    }

    function _spend(address account, uint256 amount, bytes32 ref) private {
        _burn(account, amount);
        emit Spent(account, amount, ref);
    }
}
