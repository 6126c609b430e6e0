// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Operations} from "./parts/Operations.sol";

/// @title Who may do what in all contracts of one issuer.
/// @notice OpenZeppelin's access manager with three additions: it knows which role each function of this set needs, so
/// that a new token is ready to use; a change of roles can carry an operation id; and the last administrator stays.
contract IssuerAuthority is AccessManager, Operations {
    /// @notice May destroy units, end deeds and describe the assets.
    uint64 public constant ISSUER_ROLE = 1;

    /// @notice May create units and deeds.
    uint64 public constant MINTER_ROLE = 2;

    /// @notice May set rules, block investors and freeze units.
    uint64 public constant COMPLIANCE_ROLE = 3;

    /// @notice May move units without the holder's consent.
    uint64 public constant ENFORCER_ROLE = 4;

    /// @notice May stop and resume a token.
    uint64 public constant PAUSER_ROLE = 5;

    /// @notice May attest identities and link wallets to them.
    uint64 public constant ATTESTER_ROLE = 6;

    /// @notice May anchor the audit log.
    uint64 public constant ANCHOR_ROLE = 7;

    /// @notice May cancel what an enforcer has scheduled.
    uint64 public constant GUARDIAN_ROLE = 8;

    mapping(bytes4 selector => uint64 role) private _defaults;

    /// @dev Tells "set to ADMIN_ROLE", which is zero, from "never set".
    mapping(address target => mapping(bytes4 selector => bool)) private _decided;

    uint256 private _admins;

    /// @notice Every contract's function `selector` needs `role`, unless the contract's own setting says otherwise.
    /// @param selector The function.
    /// @param role The role.
    event DefaultFunctionRole(bytes4 indexed selector, uint64 indexed role);

    /// @notice Without an administrator nobody could ever grant a role again.
    error LastAdmin();

    /// @notice Only members of this authority's roles burn ids here, or a stranger could use up other people's.
    /// @param caller Who is a member of none.
    error NotAMember(address caller);

    /// @notice An id is burned by something that is done, and not by nothing.
    error CallsMissing();

    /// @notice Makes the authority and gives every role to one account, except the guardian's.
    /// @param admin The first administrator; not the zero address.
    /// @param enforcerDelay Seconds between an enforcer's scheduling a forced transfer and its execution; 0 for none.
    /// @param guardian Who may cancel it meanwhile; the zero address for nobody but administrators.
    constructor(address admin, uint32 enforcerDelay, address guardian) AccessManager(admin) {
        emit RoleLabel(ISSUER_ROLE, "ISSUER");
        emit RoleLabel(MINTER_ROLE, "MINTER");
        emit RoleLabel(COMPLIANCE_ROLE, "COMPLIANCE");
        emit RoleLabel(ENFORCER_ROLE, "ENFORCER");
        emit RoleLabel(PAUSER_ROLE, "PAUSER");
        emit RoleLabel(ATTESTER_ROLE, "ATTESTER");
        emit RoleLabel(ANCHOR_ROLE, "ANCHOR");
        emit RoleLabel(GUARDIAN_ROLE, "GUARDIAN");
        _setRoleGuardian(ENFORCER_ROLE, GUARDIAN_ROLE);
        for (uint64 role = ISSUER_ROLE; role <= ANCHOR_ROLE; ++role)
            _grantRole(role, admin, 0, role == ENFORCER_ROLE ? enforcerDelay : 0);
        if (guardian != address(0)) _grantRole(GUARDIAN_ROLE, guardian, 0, 0);
        _setDefaults();
    }

    /// @notice Calls functions of this contract in the caller's name, all or none, and exactly once: grants, revokes,
    /// schedules and cancellations come this way when a repetition must change nothing.
    /// @param operationId The id to burn; not zero.
    /// @param calls The encoded calls, one at least, each checked as if the caller had made it alone.
    function perform(bytes32 operationId, bytes[] calldata calls) external {
        address caller = _msgSender();
        require(_isMember(caller), NotAMember(caller));
        require(calls.length != 0, CallsMissing());
        _burnOperation(operationId);
        // slither-disable-next-line unused-return the functions of this contract return nothing that matters here
        for (uint256 i = 0; i < calls.length; ++i) Address.functionDelegateCall(address(this), calls[i]);
    }

    /// @notice The role that a function needs: the contract's own setting if there ever was one, else the one that all
    /// contracts of the set have.
    /// @param target The contract.
    /// @param selector The function.
    /// @return The role; ADMIN_ROLE for a function that is in no table.
    function getTargetFunctionRole(address target, bytes4 selector) public view override returns (uint64) {
        return _decided[target][selector] ? super.getTargetFunctionRole(target, selector) : _defaults[selector];
    }

    /// @dev The one place that names the restricted functions of the whole set. By signature and not by import, which
    /// would tie this contract's code to theirs; the tests compare both.
    function _setDefaults() private {
        _setDefault("mint(address,uint256,bytes32)", MINTER_ROLE);
        _setDefault("batchMint(address[],uint256[],bytes32)", MINTER_ROLE);
        _setDefault("mintDeed(address,uint256,string,bytes32,bytes32)", MINTER_ROLE);

        _setDefault("burn(address,uint256,bytes32)", ISSUER_ROLE);
        _setDefault("setURI(uint256,string,bytes32,bytes32)", ISSUER_ROLE);
        _setDefault("retire(uint256,string,bytes32)", ISSUER_ROLE);
        _setDefault("setRoyalty(uint256,address,uint96,bytes32)", ISSUER_ROLE);
        _setDefault("setDefaultRoyalty(address,uint96,bytes32)", ISSUER_ROLE);
        _setDefault("setDocument(address,bytes32,string,bytes32,uint64,bytes32)", ISSUER_ROLE);
        _setDefault("removeDocument(address,bytes32,bytes32)", ISSUER_ROLE);
        _setDefault("setAttester(address,address,bytes32)", ISSUER_ROLE);
        _setDefault(
            "create(bytes32,address,address,uint256,bytes32,uint64,bytes32,bytes32,uint64,bytes32)",
            ISSUER_ROLE
        );
        _setDefault("close(bytes32,bytes32)", ISSUER_ROLE);

        _setDefault("setPolicy(address,(uint8,uint8,uint32,uint32,uint256),uint16[],bytes32)", COMPLIANCE_ROLE);
        _setDefault("setCountryHoldersMax(address,uint16,uint32,bytes32)", COMPLIANCE_ROLE);
        _setDefault("setLots(address,bytes32,uint256[],uint64[],bytes32)", COMPLIANCE_ROLE);
        _setDefault("setBlocked(bytes32,bool,bytes32,bytes32)", COMPLIANCE_ROLE);
        _setDefault("setFrozenTokens(address,uint256)", COMPLIANCE_ROLE);
        _setDefault("setFrozenTokens(address,uint256,bool)", COMPLIANCE_ROLE);
        _setDefault("setFrozenTokensIf(address,uint256,uint256,bytes32)", COMPLIANCE_ROLE);
        _setDefault("batchSetFrozenTokensIf(address[],uint256[],uint256[],bytes32)", COMPLIANCE_ROLE);
        _setDefault("setFrozenTokensIf(address,uint256,bool,bool,bytes32)", COMPLIANCE_ROLE);

        _setDefault("setIdentity(bytes32,uint16,uint8,uint64,address[],bytes32)", ATTESTER_ROLE);
        _setDefault("batchSetIdentity((bytes32,uint16,uint8,uint64,address[])[],bytes32)", ATTESTER_ROLE);
        _setDefault("linkWallet(address,bytes32,address[],bytes32)", ATTESTER_ROLE);

        _setDefault("forcedTransfer(address,address,uint256)", ENFORCER_ROLE);
        _setDefault("forcedTransferRef(address,address,uint256,string,bytes32,bytes32)", ENFORCER_ROLE);

        _setDefault("pause(bytes32)", PAUSER_ROLE);
        _setDefault("unpause(bytes32)", PAUSER_ROLE);

        _setDefault("anchor(bytes32,uint64,bytes32,bytes32,uint64,bytes32,bytes32)", ANCHOR_ROLE);

        _setDefault("setRegistry(address,bytes32)", ADMIN_ROLE);
    }

    function _setDefault(string memory signature, uint64 role) private {
        bytes4 selector = bytes4(keccak256(bytes(signature)));
        _defaults[selector] = role;
        emit DefaultFunctionRole(selector, role);
    }

    /// @dev Remembers that this function's role was decided for this target.
    function _setTargetFunctionRole(address target, bytes4 selector, uint64 roleId) internal override {
        _decided[target][selector] = true;
        super._setTargetFunctionRole(target, selector, roleId);
    }

    /// @dev An administrator's membership begins at once: one that is counted and not in force yet could not stand in
    /// for the last one that leaves.
    function _setGrantDelay(uint64 roleId, uint32 newDelay) internal override {
        require(roleId != ADMIN_ROLE, AccessManagerLockedRole(ADMIN_ROLE));
        super._setGrantDelay(roleId, newDelay);
    }

    /// @dev Counts the administrators, each of whom is in force.
    function _grantRole(
        uint64 roleId,
        address account,
        uint32 grantDelay,
        uint32 executionDelay
    ) internal override returns (bool newMember) {
        newMember = super._grantRole(roleId, account, grantDelay, executionDelay);
        // slither-disable-next-line costly-loop the constructor's rounds grant no ADMIN, so none of them writes here
        if (newMember && roleId == ADMIN_ROLE) _admins += 1;
    }

    /// @dev Revoking and renouncing both come through here.
    function _revokeRole(uint64 roleId, address account) internal override returns (bool revoked) {
        revoked = super._revokeRole(roleId, account);
        if (revoked && roleId == ADMIN_ROLE) {
            require(_admins > 1, LastAdmin());
            _admins -= 1;
        }
    }

    function _isMember(address account) private view returns (bool isMember) {
        for (uint64 role = ADMIN_ROLE; role <= GUARDIAN_ROLE; ++role) {
            (isMember, ) = hasRole(role, account);
            if (isMember) return true;
        }
    }
}
