// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

/// @title Fungible units of one asset.
/// @notice ERC-20 with signed approvals (ERC-2612), signed transfers (ERC-3009), and minting, burning and pausing by
/// role. Each write of a role carries an operation id that is accepted once, so a repeated transaction changes nothing.
/// @dev Not upgradeable. Amounts are base units. The EIP-712 domain is ("AssetToken", "1", chain id, this contract).
contract AssetToken is ERC20, ERC20Permit, ERC3009, Pausable, AccessControl {
    /// @notice May create units.
    bytes32 public constant MINTER_ROLE = keccak256("MINTER_ROLE");

    /// @notice May destroy units of any holder.
    bytes32 public constant BURNER_ROLE = keccak256("BURNER_ROLE");

    /// @notice May stop and resume every change of a balance.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// @dev A constant, because OpenZeppelin's EIP712 keeps 31 bytes at most here and an asset's name may be longer.
    string private constant DOMAIN_NAME = "AssetToken";

    uint8 private immutable _decimals;

    mapping(bytes32 operationId => bool) private _executed;

    /// @notice `actor` executed the operation `operationId` by calling the function `selector`.
    /// @param operationId The id, now burned on this contract.
    /// @param selector The first four bytes of the call, which tell mint, burn, pause and unpause apart.
    /// @param actor The holder of the role.
    event Operation(bytes32 indexed operationId, bytes4 indexed selector, address indexed actor);

    /// @notice The operation `operationId` was executed before; it never has a second effect.
    /// @param operationId The burned id.
    error OperationAlreadyExecuted(bytes32 operationId);

    /// @notice A write needs an operation id other than zero.
    error OperationIdMissing();

    /// @notice A token without an administrator could never be minted.
    error AdminMissing();

    /// @notice Makes the token and gives every role to one account.
    /// @param name_ The asset's name, of any length.
    /// @param symbol_ The short name shown beside amounts.
    /// @param decimals_ How many decimal places of display one unit has; it changes no arithmetic.
    /// @param admin The first holder of DEFAULT_ADMIN_ROLE, MINTER_ROLE, BURNER_ROLE and PAUSER_ROLE.
    constructor(
        string memory name_,
        string memory symbol_,
        uint8 decimals_,
        address admin
    ) ERC20(name_, symbol_) ERC20Permit(DOMAIN_NAME) {
        require(admin != address(0), AdminMissing());
        _decimals = decimals_;
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(MINTER_ROLE, admin);
        _grantRole(BURNER_ROLE, admin);
        _grantRole(PAUSER_ROLE, admin);
    }

    /// @dev Burns `operationId`; stands after `onlyRole`, so that a stranger learns nothing about ids.
    modifier once(bytes32 operationId) {
        require(operationId != 0, OperationIdMissing());
        require(!_executed[operationId], OperationAlreadyExecuted(operationId));
        _executed[operationId] = true;
        emit Operation(operationId, msg.sig, _msgSender());
        _;
    }

    /// @notice Creates `amount` units for `to`.
    /// @param to The receiver; not the zero address.
    /// @param amount Base units; the total supply stays below 2**256.
    /// @param operationId The id to burn; not zero.
    function mint(
        address to,
        uint256 amount,
        bytes32 operationId
    ) external onlyRole(MINTER_ROLE) once(operationId) {
        _mint(to, amount);
    }

    /// @notice Destroys `amount` units of `from`, without its consent.
    /// @param from Any holder.
    /// @param amount Base units, at most the holder's balance.
    /// @param operationId The id to burn; not zero.
    function burn(
        address from,
        uint256 amount,
        bytes32 operationId
    ) external onlyRole(BURNER_ROLE) once(operationId) {
        _burn(from, amount);
    }

    /// @notice Stops every change of a balance: transfers, mints, burns and authorizations.
    /// @param operationId The id to burn; not zero.
    function pause(bytes32 operationId) external onlyRole(PAUSER_ROLE) once(operationId) {
        _pause();
    }

    /// @notice Lets balances change again.
    /// @param operationId The id to burn; not zero.
    function unpause(bytes32 operationId) external onlyRole(PAUSER_ROLE) once(operationId) {
        _unpause();
    }

    /// @notice Whether `operationId` was executed, and so is burned.
    /// @param operationId The id asked about.
    /// @return True from the block on in which the operation succeeded.
    function operationExecuted(bytes32 operationId) external view returns (bool) {
        return _executed[operationId];
    }

    /// @notice How many decimal places of display one unit has.
    /// @return The number given at deployment.
    function decimals() public view override returns (uint8) {
        return _decimals;
    }

    /// @notice Whether the contract implements `interfaceId` (ERC-165).
    /// @param interfaceId ERC-165, IAccessControl, ERC-20, its metadata and ERC-2612 are answered with true.
    /// @return True if it does.
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return
            interfaceId == type(IERC20).interfaceId ||
            interfaceId == type(IERC20Metadata).interfaceId ||
            interfaceId == type(IERC20Permit).interfaceId ||
            super.supportsInterface(interfaceId);
    }

    /// @dev Every change of a balance comes through here, so every rule on who may hold or move units belongs here.
    function _update(address from, address to, uint256 value) internal override whenNotPaused {
        super._update(from, to, value);
    }
}
